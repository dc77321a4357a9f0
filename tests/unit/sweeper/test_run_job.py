"""A trial's job is Hydra's own run_job in all that can be seen of it."""

from __future__ import annotations

import copy
import hashlib
import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra.core.utils
import pytest
from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.hydra_wandb_sweeper._job_config import Held, JobConfig
from hydra_plugins.hydra_wandb_sweeper._run_job import run_job, without_hydra
from tests.unit.sweeper.test_composing import composed, loader, master

__all__ = ["master"]  # a fixture

# Of hydra.core.utils.run_job, by version of Hydra: ours was compared with these.
KNOWN = {"1.3.8": "398b33286c017043"}


class Callbacks:
    """Notes what callbacks are told. fails: they raise."""

    def __init__(self, fails: bool) -> None:
        self.told: list[Any] = []
        self._fails = fails

    def on_job_start(self, config: DictConfig, task_function: Any) -> None:
        self.told.append(("start", composed(config), os.getcwd(), os.environ.get("OF_JOB")))
        if self._fails:
            raise RuntimeError("callback")

    def on_job_end(self, config: DictConfig, job_return: JobReturn) -> None:
        self.told.append(("end", composed(config), os.getcwd(), seen_of(job_return)))


def seen_of(job: JobReturn) -> Any:
    value = job._return_value  # of a failed job, return_value raises
    overrides = list(job.overrides or [])
    about = job.working_dir, job.task_name, job.status, repr(value)
    return composed(job.cfg), OmegaConf.to_yaml(job.hydra_cfg), overrides, about


CASES: dict[str, list[str]] = {
    "plain": ["x=1"],
    "a group": ["model=wide", "+y='a, b'"],
    "in its directory": ["hydra.job.chdir=true"],
    "in the working directory": ["hydra.job.chdir=false"],
    "without .hydra": ["hydra.output_subdir=null"],
    "another .hydra": ["hydra.output_subdir=deep/er"],
    "variables": ["+hydra.job.env_set.OF_JOB='${hydra.job.num}'"],
    "variables that can't be had": ["+hydra.job.env_set.OF_JOB='${x}'"],
    "a relative directory": ["hydra.sweep.dir=elsewhere"],
    "verbose": ["hydra.verbose=true"],
    "no logging": ["hydra/job_logging=disabled"],
}
TASKS = ["returns", "raises", "exits", "callback raises", "changes its config"]


def observe(runs: Any, config: DictConfig, task: str, directory: Path) -> Any:
    """All that can be seen of a job from within, from outside, and on disk."""
    seen: list[Any] = []

    def function(cfg: DictConfig) -> Any:
        inside = HydraConfig.get()
        seen.append(
            (composed(cfg), OmegaConf.to_yaml(inside), inside.runtime.output_dir, cfg.name, cfg.when == cfg.when)
        )
        seen.append((OmegaConf.is_readonly(inside), os.getcwd(), os.environ.get("OF_JOB")))
        logging.getLogger("of the task").info("hello")
        if task == "raises":
            raise ValueError("no good")
        if task == "exits":
            raise SystemExit(3)
        if task == "changes its config":
            with open_dict(cfg):
                cfg.x, cfg.new = 99, 1
        return cfg.x

    callbacks: Any = Callbacks(task == "callback raises")
    before = HydraConfig.instance().cfg
    try:
        seen.append(seen_of(runs(function, config, HydraContext(config_loader=loader(), callbacks=callbacks))))
    except BaseException as error:  # noqa: BLE001 (compared)
        seen.append((type(error), str(error)))
    files = {
        str(path.relative_to(directory)): _timeless(path) for path in sorted(directory.rglob("*")) if path.is_file()
    }
    return seen, callbacks.told, files, os.getcwd(), HydraConfig.instance().cfg is before, composed(config)


def _timeless(path: Path) -> bytes:
    content = path.read_bytes()
    return b"hello" if path.suffix == ".log" and b"hello" in content else content


def hydras(function: Any, config: DictConfig, context: HydraContext) -> JobReturn:
    return hydra.core.utils.run_job(
        task_function=function, config=config, job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )  # fmt: skip


def ours(function: Any, config: DictConfig, context: HydraContext, held: Held | None = None) -> JobReturn:
    HydraConfig.instance().cfg, before = config, HydraConfig.instance().cfg  # type: ignore[assignment]
    output_dir = os.path.join(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir))
    HydraConfig.instance().cfg = before
    return run_job(function, JobConfig(config, held), output_dir, context)


def prepared(function: Any, config: DictConfig, context: HydraContext) -> JobReturn:
    return ours(function, config, context, Held.of(config))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level
    logging.disable(logging.NOTSET)


def job_config(master: DictConfig, overrides: Sequence[str]) -> DictConfig:
    config = loader().load_sweep_config(master, list(overrides))
    with open_dict(config.hydra.job):
        config.hydra.job.id, config.hydra.job.num = "job", 3
    assert config.when  # once, or two jobs would have two times
    return config


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("case", CASES)
def test_a_job_is_hydra_s_to_the_byte(
    master: DictConfig, case: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job_config(master, CASES[case])
    seen = []
    # In the same place, one after the other: what they see of it is compared too.
    place = tmp_path / "place"
    for number, runs in enumerate((hydras, ours, prepared)):
        place.mkdir()
        monkeypatch.chdir(place)
        seen.append(observe(runs, copy.deepcopy(config), task, place))
        monkeypatch.chdir(tmp_path)
        place.rename(tmp_path / f"done{number}")
    assert seen[0] == seen[1]
    assert seen[0] == seen[2]


def test_hydra_s_run_job_is_the_one_that_ours_was_made_after() -> None:
    source = inspect.getsource(hydra.core.utils.run_job)
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    assert digest in KNOWN.values(), f"hydra.core.utils.run_job of Hydra {hydra.__version__} has changed: {digest}"


def test_the_old_default_of_the_working_directory_is_left_to_hydra(
    master: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    version.setbase("1.1")
    try:
        with pytest.warns(UserWarning, match="changes_to_job_working_dir"):
            seen = observe(ours, job_config(master, ["x=1"]), "returns", tmp_path)
    finally:
        version.setbase("1.3")
    assert seen[0][1][1] != str(tmp_path)  # it ran in its output directory


def test_a_config_without_hydra_s_part_is_a_copy(master: DictConfig) -> None:
    config = job_config(master, ["x=1"])
    copied = without_hydra(config)
    copied.x = 2
    assert (config.x, "hydra" in config, "hydra" in copied) == (1, True, False)
