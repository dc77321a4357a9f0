"""A callback that says what it has seen."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Notes(Callback):
    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self._note(config, "start")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        self._note(config, f"end {job_return.return_value}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self._note(config, "multirun")

    def _note(self, config: DictConfig, what: str) -> None:
        with open(Path(config.hydra.runtime.cwd, config.hydra.sweep.dir, self.file), "a") as file:
            file.write(f"{config.base} {what}\n")
