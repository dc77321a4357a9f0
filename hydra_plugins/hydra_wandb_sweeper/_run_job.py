"""Hydra's run_job for the trials of a sweep, without the copies of the config that nobody can tell from the original.

What comes before the task in hydra.core.utils.run_job (1.3.2 to 1.3.8) is 20 ms in a forked process, more than half
of a trial that does nothing; and more than half of that are four copies of the whole config, of which Hydra's own
part is nearly all. Two are enough: test_run_job.py compares all that can be seen, and notices when Hydra's changes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from pathlib import Path
from typing import Any

import hydra.core.utils
from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ._config_text import config_text
from ._job_config import JobConfig
from ._named_values import with_values


def run_job(task_function: TaskFunction, job: JobConfig, output_dir: str, hydra_context: HydraContext) -> JobReturn:
    """Run a task as one job of a multirun.

    job: its own, as it is changed. output_dir: what hydra.sweep.dir and hydra.sweep.subdir give for it. The job's
    errors are in its return; others are those of Hydra's run_job.
    """
    config = job.config
    if config.hydra.job.chdir is None and not version.base_at_least("1.2"):
        # The old default, which is announced with a warning of Hydra's.
        return hydra.core.utils.run_job(
            task_function=task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=hydra_context,
        )
    cwd, held_before = os.getcwd(), HydraConfig.instance().cfg
    absolute = os.path.abspath(output_dir)
    job.change_hydra("runtime", lambda runtime: setattr(runtime, "output_dir", absolute))
    held = job.hold()
    try:
        return _run(task_function, job, held, output_dir, hydra_context.callbacks)
    finally:
        HydraConfig.instance().cfg = held_before
        if config.hydra.job.chdir:
            os.chdir(cwd)


def _run(
    task_function: TaskFunction, job_config: JobConfig, hydra_cfg: DictConfig, output_dir: str, callbacks: Any
) -> JobReturn:
    config = job_config.config
    if hydra_cfg.hydra.job.env_set:
        # In a copy, interpolations don't reach the task's part of the config: then Hydra's job fails, so does this.
        hydra_cfg = copy.deepcopy(hydra_cfg)
    job = JobReturn()
    job.cfg = task_cfg = without_hydra(config)
    job.hydra_cfg = hydra_cfg
    job.overrides = list(config.hydra.overrides.task)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    if config.hydra.job.chdir:
        os.chdir(output_dir)
    job.working_dir = output_dir if config.hydra.job.chdir else os.getcwd()
    with with_values(config, config.hydra.job_logging):
        configure_log(config.hydra.job_logging, config.hydra.verbose)
    if config.hydra.output_subdir is not None:
        directory = Path(config.hydra.runtime.output_dir) / Path(config.hydra.output_subdir)
        directory.mkdir(parents=True, exist_ok=True)
        saved = {
            "config.yaml": config_text(task_cfg),
            "hydra.yaml": job_config.held_text(hydra_cfg),
            "overrides.yaml": config_text(config.hydra.overrides.task),
        }
        for name, text in saved.items():
            (directory / name).write_text(text, encoding="utf-8")
    with env_override(hydra_cfg.hydra.job.env_set):
        callbacks.on_job_start(config=config, task_function=task_function)
        try:
            job.return_value = task_function(task_cfg)
            job.status = JobStatus.COMPLETED
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the job's)
            job.return_value = error
            job.status = JobStatus.FAILED
    job.task_name = JobRuntime.instance().get("name")
    _flush_loggers()
    callbacks.on_job_end(config=config, job_return=job)
    return job


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a deep copy of a config without its key `hydra`, which isn't copied only to be thrown away."""
    copied: DictConfig = copy.deepcopy(config, {id(config.hydra): OmegaConf.create({})})
    with read_write(copied), open_dict(copied):
        del copied["hydra"]
    return copied


def _flush_loggers() -> None:
    named = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for handler in {handler for logger in [logging.root, *named] for handler in logger.handlers}:
        with contextlib.suppress(Exception):  # as Hydra does
            handler.flush()
