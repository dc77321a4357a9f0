"""A command line that runs one configuration again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pytest
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._rerun import StartCommand, override_line, read_start, rerun_command
from hydra_plugins.hydra_wandb_sweeper._trial_line import split_line

OVERRIDES = ["x=1", "model=small"]


def again(original: str, own: int, *hydra: str) -> str:
    """The command line after a start by `original`, whose last `own` words are the program's arguments."""
    words = shlex.split(original)
    return rerun_command(
        read_start(words, [words[len(words) - own - 1], *words[len(words) - own :]], hydra),
        OVERRIDES,
        lambda _: RunMode.RUN,
    )


@pytest.mark.parametrize(
    ("started", "own", "hydra", "command"),
    [
        ("python train.py -m hydra/sweeper=wandb x=1,2", 3, ["hydra/sweeper=wandb"], "python train.py"),
        ("python -m pkg.train --multirun x=1,2", 2, [], "python -m pkg.train"),
        ("/v/bin/python -X dev /v/bin/train -m x=1,2", 2, [], "/v/bin/python -X dev /v/bin/train"),
        ("python train.py -m", 1, [], "python train.py"),
        (
            "python train.py -m -cn other --config-path=conf -cd /c x=1,2",
            7,
            [],
            "python train.py --config-path conf --config-dir /c --config-name other",
        ),
    ],
)
def test_the_program_is_started_as_the_user_did(started: str, own: int, hydra: list[str], command: str) -> None:
    assert again(started, own, *hydra) == f"{command} x=1 model=small"


def test_a_program_within_another_one_s_process_is_started_by_itself() -> None:
    kernel = ["/v/bin/python", "-m", "ipykernel_launcher", "-f", "k.json"]
    start = read_start(kernel, ["train.py", "-m", "-cn", "other", "hydra/sweeper=wandb", "x=1,2"], ())
    assert start == StartCommand(("/v/bin/python", "train.py"), ("--config-name", "other"))
    assert read_start(kernel, ["train.py"], ()) == StartCommand(("/v/bin/python", "train.py"))


def test_a_module_is_named_as_it_was_not_as_its_file() -> None:
    started = ["python", "-X", "dev", "-m", "pkg.train", "-m", "x=1,2"]
    assert read_start(started, ["/home/me/pkg/train.py", "-m", "x=1,2"], ()).program == tuple(started[:5])


def test_of_hydra_s_own_settings_those_of_a_single_run_stay() -> None:
    given = ["hydra.job.chdir=true", "hydra.sweep.dir=d", "hydra.sweeper.agents=3", "+hydra.sweeper.x=1"]
    given += ["hydra.launcher.n_jobs=2", "hydra/launcher=joblib", "hydra.mode=MULTIRUN", "hydra/job_logging=none"]
    assert again("python train.py -m x=1,2", 2, *given) == (
        "python train.py x=1 model=small hydra.job.chdir=true hydra/job_logging=none"
    )


def test_an_app_whose_config_makes_it_a_multirun_is_told_to_run_once() -> None:
    start = StartCommand(("python", "a.py"))
    assert rerun_command(start, OVERRIDES, lambda _: RunMode.MULTIRUN) == "python a.py x=1 model=small hydra.mode=RUN"
    assert rerun_command(start, OVERRIDES, lambda _: None) == "python a.py x=1 model=small"


def test_the_choice_of_sweeper_and_launcher_stays_only_where_nothing_composes_without_it() -> None:
    start = StartCommand(("python", "a.py"), choices=("hydra/launcher=joblib",))
    asked: list[list[str]] = []

    def mode_of(overrides: Sequence[str]) -> RunMode | None:
        asked.append(list(overrides))
        return RunMode.MULTIRUN if "hydra/launcher=joblib" in overrides else None

    line = "python a.py x=1 model=small hydra/launcher=joblib hydra.mode=RUN"
    assert rerun_command(start, OVERRIDES, mode_of) == line
    assert asked == [OVERRIDES, [*OVERRIDES, "hydra/launcher=joblib"]]
    assert rerun_command(start, OVERRIDES, lambda _: RunMode.RUN) == "python a.py x=1 model=small"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("lr=0.1", "lr=0.1"),
        ("y='a b'", "\"y='a b'\""),
        ("y=a b", "'y=a b'"),
        ("s=${x}", "'s=${x}'"),
        ("s='$x'", "'s='\"'\"'$x'\"'\"''"),
        ("l=[1,2]", "'l=[1,2]'"),
        ("~gone", "'~gone'"),
    ],
)
def test_quotes_are_those_that_the_shell_needs(override: str, line: str) -> None:
    assert override_line([override]) == line


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_the_shell_and_lists_of_trials_read_a_line_as_it_was_meant(overrides: list[str]) -> None:
    line = override_line(overrides)
    assert shlex.split(line) == overrides
    assert split_line(line) == overrides
