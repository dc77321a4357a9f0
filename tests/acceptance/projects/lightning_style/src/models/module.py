"""A model that learns a number, the faster the better its learning rate."""

from typing import Any


class Optimizer:
    def __init__(self, params: list[float], lr: float, weight_decay: float = 0.0) -> None:
        self.lr = lr
        self.weight_decay = weight_decay


class LitModule:
    def __init__(self, net: Any, optimizer: Any, compile: bool = False) -> None:
        self.net = net
        # As with `_partial_: true`: the parameters are known only now.
        self.optimizer = optimizer(params=[0.0])
        self.weight = 0.0
        self.best = 0.0

    def training_epoch(self, datamodule: Any) -> dict[str, float]:
        step = self.optimizer.lr * datamodule.batch_size / 64
        self.weight += step * (1.0 - self.weight) * (0.5 + self.net.width / 256)
        accuracy = max(0.0, 1.0 - abs(1.0 - self.weight))
        self.best = max(self.best, accuracy)
        return {"train/loss": (1.0 - self.weight) ** 2, "val/acc": accuracy, "val/acc_best": self.best}
