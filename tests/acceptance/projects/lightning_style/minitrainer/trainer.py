"""The loop."""

import json
from pathlib import Path
from typing import Any


class Scalar:
    """A number in a box, as a tensor is."""

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value

    def __float__(self) -> float:
        return self._value


class Trainer:
    def __init__(
        self,
        default_root_dir: str,
        max_epochs: int,
        min_epochs: int = 1,
        accelerator: str = "cpu",
        devices: int = 1,
        callbacks: list[Any] | None = None,
        logger: list[Any] | None = None,
    ) -> None:
        self.default_root_dir = Path(default_root_dir)
        self.max_epochs = max_epochs
        self.min_epochs = min_epochs
        self.callbacks = callbacks or []
        self.loggers = logger or []
        self.callback_metrics: dict[str, Scalar] = {}
        self.should_stop = False
        self.epoch = 0

    def fit(self, model: Any, datamodule: Any, ckpt_path: str | None = None) -> None:
        datamodule.setup()
        first = 0
        if ckpt_path:
            state = json.loads(Path(ckpt_path).read_text())
            first, model.weight = state["epoch"] + 1, state["weight"]
        for epoch in range(first, self.max_epochs):
            self.epoch = epoch
            metrics = model.training_epoch(datamodule)
            self.callback_metrics.update({name: Scalar(value) for name, value in metrics.items()})
            for logger in self.loggers:
                logger.log_metrics(metrics, step=epoch)
            for callback in self.callbacks:
                callback.on_epoch_end(self, model)
            if self.should_stop and epoch + 1 >= self.min_epochs:
                break
        for logger in self.loggers:
            logger.finalize("success")
