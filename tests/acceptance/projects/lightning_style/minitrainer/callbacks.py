"""What happens after each epoch."""

import json
from pathlib import Path
from typing import Any


class Callback:
    def on_epoch_end(self, trainer: Any, model: Any) -> None:
        """After each epoch."""


class ModelCheckpoint(Callback):
    def __init__(self, dirpath: str, filename: str, monitor: str, mode: str = "max", save_last: bool = True) -> None:
        self.dirpath = Path(dirpath)
        self.filename = filename
        self.monitor = monitor
        self.save_last = save_last
        self.best_model_path = ""

    def on_epoch_end(self, trainer: Any, model: Any) -> None:
        self.dirpath.mkdir(parents=True, exist_ok=True)
        path = self.dirpath / f"{self.filename.format(epoch=trainer.epoch)}.ckpt"
        path.write_text(json.dumps({"epoch": trainer.epoch, "weight": model.weight}))
        self.best_model_path = str(path)
        if self.save_last:
            (self.dirpath / "last.ckpt").write_text(path.read_text())


class EarlyStopping(Callback):
    def __init__(self, monitor: str, patience: int, mode: str = "max") -> None:
        self.monitor = monitor
        self.patience = patience
        self.best = float("-inf")
        self.waited = 0

    def on_epoch_end(self, trainer: Any, model: Any) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        self.waited = 0 if value > self.best else self.waited + 1
        self.best = max(self.best, value)
        trainer.should_stop = self.waited >= self.patience
