"""Loggers. W&B is imported when it is first used, as Lightning does."""

import csv
from pathlib import Path
from typing import Any


class CSVLogger:
    def __init__(self, save_dir: str, name: str = "csv/", prefix: str = "") -> None:
        self.path = Path(save_dir) / name / "metrics.csv"

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow([step, *metrics.values()])

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Metrics are enough."""

    def finalize(self, status: str) -> None:
        """Each row is in the file already."""


class WandbLogger:
    def __init__(
        self,
        save_dir: str,
        project: str | None = None,
        entity: str | None = None,
        id: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        offline: bool = False,
        log_model: bool = False,
        prefix: str = "",
    ) -> None:
        self._arguments = {"dir": save_dir, "project": project, "entity": entity, "id": id, "resume": "allow"}
        self._arguments |= {"group": group or None, "job_type": job_type or None, "tags": tags or None}
        self._run: Any = None

    @property
    def experiment(self) -> Any:
        if self._run is None:
            import wandb

            self._run = wandb.run if wandb.run is not None else wandb.init(**self._arguments)
            self._run.define_metric("trainer/global_step")
            self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._run

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.experiment.log({**metrics, "trainer/global_step": step})

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.experiment.config.update(params, allow_val_change=True)

    def finalize(self, status: str) -> None:
        """The app finishes the run."""
