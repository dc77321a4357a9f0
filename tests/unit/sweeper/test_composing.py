"""Composing from what is the same for all trials gives what Hydra gives, to the byte."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.hydra_wandb_sweeper._composing import Composer
from hydra_plugins.hydra_wandb_sweeper._job_config import Held, JobConfig

CONFIG = {
    "config.yaml": """
defaults:
  - _self_
  - model: small
  - optional extra: null
  - data@train: one
  - data@test: one
x: 0
lr: 0.1
name: ${model.name}-${x}
when: ${now:%f}
typed: {a: 1, b: [1, 2]}
absent: ???
hydra:
  job:
    env_copy: [HOME]
    config: {override_dirname: {exclude_keys: [lr]}}
  sweep: {dir: out, subdir: "${hydra.job.num}_${hydra:job.override_dirname}"}
""",
    "model/small.yaml": "name: small\nlayers: [1]\n",
    "model/wide.yaml": "defaults:\n  - small\n  - _self_\nname: wide\nlayers: [1, 2]\nmore: {a: 1}\n",
    "extra/on.yaml": "# @package _global_\nlr: 0.7\nextra_on: true\n",
    "data/one.yaml": "path: one\n",
    "data/two.yaml": "path: two\n",
    "elsewhere/found.yaml": "a: 1\n",
}


@pytest.fixture
def master(tmp_path: Path) -> Iterator[DictConfig]:
    """The config of a multirun in a directory of its own."""
    for name, text in CONFIG.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with initialize_config_dir(str(tmp_path), version_base="1.3", job_name="app"):
        yield compose("config", ["hydra.verbose=false"], return_hydra_config=True)


def loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def parts(config: Any) -> Iterator[Any]:
    """What YAML doesn't show: types and flags of all parts of a config."""
    yield OmegaConf.is_struct(config), OmegaConf.is_readonly(config), OmegaConf.get_type(config)
    for key in range(len(config)) if OmegaConf.is_list(config) else list(config):
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            yield key
        elif OmegaConf.is_config(config[key]):
            yield from parts(config[key])
        else:
            yield key, type(config[key])


def composed(config: DictConfig) -> tuple[Any, ...]:
    """All that can be seen of a config."""
    return OmegaConf.to_yaml(config), list(parts(config)), OmegaConf.get_cache(config)


def attempt(compose_it: Any) -> Any:
    """The config, or the error that there is instead."""
    try:
        return composed(compose_it())
    except Exception as error:  # noqa: BLE001 (whatever it is, both say the same)
        return type(error), str(error)


TRIALS = [
    [],
    ["x=1"],
    ["x=1", "lr=1e-3", "typed.a=2"],
    ["model=wide", "x=2"],
    ["x=2", "model=wide", "model.layers=[3,4]", "+model.new=1"],
    ["model={name: dict, layers: [9]}"],
    ["model.name=a", "model=wide"],
    ["+y=3", "++x=4", "++z.deep=5"],
    ["x=${lr}", "name='a, b'", "absent=null"],
    ["typed={a: 5, c: 6}", "typed.a=7"],
    ["extra=on", "x=1"],
    ["data@train=two"],
    ["data@train=two", "x=1"],
    ["~data@test"],
    ["~x"],
    ["~typed.a=1", "x=2"],
    ["hydra.job.chdir=true", "x=1"],
    ["hydra/job_logging=disabled"],
    ["+elsewhere=found"],
    ["+elsewhere/more=3"],
    ["x=1", "x=2"],
    ["lr=0.5", "x='a=b'"],
    ["y=1"],
    ["+x=1"],
    ["++model=wide"],
    ["model=huge"],
    ["x=[1,2"],
    ["data@nowhere=one"],
    ["x@there=1"],
    ["elsewhere=found"],
]


@pytest.mark.parametrize("overrides", TRIALS, ids=" ".join)
@pytest.mark.parametrize("prepared", [True, False])
def test_a_trial_s_config_or_error_is_hydra_s(master: DictConfig, overrides: list[str], prepared: bool) -> None:
    composer = Composer(loader(), master)
    if prepared:
        composer.prepare(overrides)
    hydras = attempt(lambda: loader().load_sweep_config(master, overrides))
    for _ in range(2):  # what one trial does to its config is nothing to the next
        assert attempt(lambda: composer.compose(overrides)) == hydras


KEYS = ["x", "lr", "typed.a", "typed", "+new", "++new", "model", "model.layers", "+model.new", "extra", "absent"]
VALUES = ["1", "1e-3", "small", "wide", "on", "null", "[1,2]", "{a: 1}", "${x}", "'a b'", "''"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=5))
def test_any_overrides_give_what_hydra_gives(master: DictConfig, pairs: Sequence[tuple[str, str]]) -> None:
    overrides = [f"{key}={value}" for key, value in pairs]
    composer = Composer(loader(), master)
    composer.prepare(overrides)
    hydras = attempt(lambda: loader().load_sweep_config(master, overrides))
    assert attempt(lambda: composer.compose(overrides)) == hydras


class _Counting:
    """A loader that notes what it is asked to compose."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(loader(), name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.asked.append(sweep_overrides)
        return loader().load_sweep_config(master_config, sweep_overrides)


def test_hydra_composes_once_for_each_choice_of_groups(master: DictConfig) -> None:
    counting: Any = _Counting()
    composer = Composer(counting, master)
    for trial in (["x=2", "+y=1"], ["x=1"], ["model=wide", "x=3"], ["x=4", "model=wide"]):
        composer.prepare(trial)
        composer.compose(trial)
    assert counting.asked == [[], ["model=wide"]]


def multirun(*arguments: str) -> DictConfig:
    """The config that a sweeper is given for these arguments of the command line."""
    hydras: Any = loader()  # as Hydra.compose_config does
    config: DictConfig = hydras.load_configuration("config", ["hydra.mode=MULTIRUN", *arguments], RunMode.MULTIRUN)
    return config


SWEEPS = [
    (["x=1,2"], ["x=1"], True),
    (["x=1,2", "lr=0.3"], ["x=1", "lr=0.3"], True),
    (["x=range(3)", "model=wide", "typed.a=5"], ["x=0", "model=wide", "typed.a=5"], True),
    (["model=wide", "data@train=two", "x=1,2"], ["model=wide", "data@train=two", "x=1"], False),
    (["hydra.job.chdir=true", "x=1,2"], ["x=1"], True),
    ([], ["x=1"], True),
    ([], ["model=wide", "x=1"], False),
    (["x=1,2"], ["x=1", "lr=0.5"], True),
    (["model=small,wide"], ["model=small"], False),
    (["model=small,wide", "x=1"], ["model=wide", "x=1"], False),
    (["x=1,2", "+new=1"], ["x=1", "+new=1"], False),
    (["x=1,2", "++lr=1"], ["x=1", "++lr=1"], False),
    (["x=1,2", "~lr"], ["x=1", "~lr"], False),
    (["typed={a: 3}", "x=1,2"], ["typed={a: 3}", "x=1"], False),
    (["lr=0.5", "x=1,2"], ["x=1"], False),
    (["model=wide", "x=1,2"], ["x=1"], False),
    (["x=1,2", "lr=0.1", "lr=0.2"], ["x=1", "lr=0.1", "lr=0.2"], False),
    (["typed=[1,2],7", "typed=1"], ["typed=[1,2]", "typed=1"], False),
    (["typed=1,2", "typed.a=3"], ["typed=1", "typed.a=3"], False),
    (["typed.a=7", "typed.b=[5]", "x=1,2"], ["typed.a=7", "typed.b=[5]", "x=1"], True),
    (["extra=on", "x=1,2"], ["extra=on", "x=1"], True),
    (["absent=1,2"], ["absent=1"], True),
    (["x=1,2", "lr=${x}"], ["x=1", "lr=${x}"], True),
    (["nothing=1,2"], ["nothing=1"], False),
    (["hydra.searchpath=[pkg://hydra.conf]", "x=1,2"], ["x=1"], False),
    (["+hydra.callbacks.mine._target_=hydra.experimental.callback.Callback", "x=1,2"], ["x=1"], False),
]


@pytest.mark.parametrize(("arguments", "overrides", "is_free"), SWEEPS, ids=str)
def test_what_hydra_has_composed_for_the_sweep_is_not_composed_again(
    master: DictConfig, arguments: list[str], overrides: list[str], is_free: bool
) -> None:
    del master  # only for its directory
    counting: Any = _Counting()
    config = multirun(*arguments)
    composer = Composer(counting, config)
    composer.prepare(overrides)
    hydras = attempt(lambda: loader().load_sweep_config(config, overrides))
    for _ in range(2):
        assert attempt(lambda: composer.compose(overrides)) == hydras
    assert (counting.asked == []) == is_free


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES), st.booleans()), max_size=5))
def test_any_sweep_s_trials_are_what_hydra_gives(master: DictConfig, told: Sequence[tuple[str, str, bool]]) -> None:
    del master
    try:
        config = multirun(*[f"{key}={value},7" if swept else f"{key}={value}" for key, value, swept in told])
    except Exception:  # noqa: BLE001 (there is no such sweep)
        assume(False)
    overrides = [f"{key}={value}" for key, value, _ in told]
    composer = Composer(loader(), config)
    composer.prepare(overrides)
    hydras = attempt(lambda: loader().load_sweep_config(config, overrides))
    assert attempt(lambda: composer.compose(overrides)) == hydras


def test_a_choice_that_is_missing_in_the_sweep_is_refused_by_hydra(master: DictConfig, tmp_path: Path) -> None:
    del master
    (tmp_path / "config.yaml").write_text("defaults:\n  - model: ???\nx: 0\n")
    config = multirun("x=1,2")
    composer = Composer(loader(), config)
    composer.prepare(["x=1"])
    hydras = attempt(lambda: loader().load_sweep_config(config, ["x=1"]))
    assert "You must specify 'model'" in hydras[1]
    assert attempt(lambda: composer.compose(["x=1"])) == hydras


def test_the_last_trial_of_a_process_needs_no_copy(master: DictConfig) -> None:
    composer = Composer(loader(), master)
    composer.prepare(["x=1"])
    hydras = composed(loader().load_sweep_config(master, ["x=2"]))
    for _ in range(2):  # even if it wasn't the last one
        assert composed(composer.compose_last(["x=2"]).config) == hydras


@pytest.mark.parametrize("overrides", TRIALS, ids=" ".join)
def test_what_hydra_holds_of_a_trial_is_what_it_would_make_of_it(master: DictConfig, overrides: list[str]) -> None:
    hydras = attempt(lambda: held_of(JobConfig(loader().load_sweep_config(master, overrides))))
    composer = Composer(loader(), master)
    composer.prepare(overrides)
    composer.prepare_further()
    assert attempt(lambda: held_of(composer.compose_last(overrides))) == hydras


def held_of(job: JobConfig) -> DictConfig:
    """What Hydra holds of a job, when the job's number stands in it."""
    job.change_hydra("job", lambda part: part.update(id="job", num=3))
    before = HydraConfig.instance().cfg
    try:
        held: DictConfig = job.hold()
        assert HydraConfig.instance().cfg is held
        assert job.held_text(held) == OmegaConf.to_yaml(held)
        assert OmegaConf.is_readonly(job.config.hydra)
        assert held.hydra.sweep.subdir == f"3_{held.hydra.job.override_dirname}"
    finally:
        HydraConfig.instance().cfg = before
    return held


def test_what_hydra_holds_is_made_once_for_each_choice_and_by_no_trial(
    master: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    composer = Composer(loader(), master)
    made: list[DictConfig] = []
    set_config = HydraConfig.instance().set_config
    monkeypatch.setattr(HydraConfig.instance(), "set_config", lambda cfg: (made.append(cfg), set_config(cfg)))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    for overrides in (["x=1"], ["x=2"], ["model=wide", "x=1"], ["model=wide"]):
        composer.prepare(overrides)
        composer.prepare_further()
    assert [config.model.name for config in made] == ["small", "wide"]
    composer.compose_last(["x=3"]).hold()
    assert len(made) == 2


def test_a_time_that_a_sweep_has_asked_for_is_that_of_all_its_trials(master: DictConfig) -> None:
    first = Composer(loader(), master)
    first.prepare(["x=1"])
    composer = Composer(loader(), master)
    composer.take_over(first)
    when = master.when
    assert composer.compose(["x=2"]).when == when
    composer.prepare_further()
    assert composer.compose(["x=2"]).when == when
    assert composer.compose_last(["x=3"]).config.when == when


@pytest.mark.parametrize("content", [{"p": Path("x")}, {"p": [b"x"]}], ids=str)
def test_what_yaml_may_refer_to_is_written_by_omegaconf(master: DictConfig, content: dict[str, Any]) -> None:
    for part in ("job_logging", "hydra_logging"):
        with open_dict(master.hydra[part]):
            master.hydra[part].mine = content
    composer = Composer(loader(), master)
    with pytest.raises(TypeError, match="only once"):
        Held.of(copy.deepcopy(master))
    composer.prepare(["x=1"])
    composer.prepare_further()
    assert composer.compose_last(["x=1"]).held is None


def test_no_trial_lists_all_trials(tmp_path: Path) -> None:
    text = "defaults: [_self_, {override hydra/sweeper: wandb}]\nx: 0\nhydra: {sweeper: {trials: [x=1, x=2]}}\n"
    (tmp_path / "config.yaml").write_text(text)
    with initialize_config_dir(str(tmp_path), version_base="1.3", job_name="app"):
        config = compose("config", return_hydra_config=True)
        composer = Composer(loader(), config)
        composer.prepare(["x=1"])
        for overrides in (["x=1"], ["+y=1", "x=2"], ["~x"]):
            assert composer.compose(overrides).hydra.sweeper.trials is None


def test_a_choice_that_was_not_prepared_is_composed_by_hydra(master: DictConfig) -> None:
    counting: Any = _Counting()
    composer = Composer(counting, master)
    composer.prepare(["x=1"])
    composer.compose(["model=wide"])
    assert counting.asked == [["model=wide"]]


def test_a_trial_sees_the_environment_and_directory_of_its_own_process(
    master: DictConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    composer = Composer(loader(), master)
    composer.prepare(["x=1"])
    monkeypatch.setenv("HOME", "/another")
    monkeypatch.chdir(tmp_path)
    assert composed(composer.compose(["x=1"])) == composed(loader().load_sweep_config(master, ["x=1"]))


@pytest.mark.parametrize("overrides", [["x=1", "lr=0.5"], ["model=wide", "+y='a, b'"]], ids=" ".join)
def test_the_files_of_a_trial_are_hydra_s_to_the_byte(
    master: DictConfig, overrides: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    composer = Composer(loader(), master)
    composer.prepare(overrides)
    configs = [loader().load_sweep_config(master, overrides), composer.compose(overrides)]
    files = [_files_of(copy.deepcopy(config), tmp_path) for config in configs]
    assert set(files[0]) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert files[0] == files[1]


def _files_of(config: DictConfig, directory: Path) -> dict[str, bytes]:
    """What run_job writes below .hydra."""
    with open_dict(config.hydra.job):
        config.hydra.job.id, config.hydra.job.num = "job", 3
    context = HydraContext(config_loader=loader(), callbacks=Mock())
    run_job(
        task_function=lambda _: None,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
        configure_logging=False,
    )
    (written,) = (directory / "out").glob("*/.hydra")
    return {path.name: path.read_bytes() for path in sorted(written.iterdir())}
