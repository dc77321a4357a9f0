"""What names values of Hydra's part of a config means what OmegaConf says that it means."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hydra.core.utils import setup_globals
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_wandb_sweeper._named_values import known_time, text_at, with_values

JOB = {
    "num": 5,
    "name": "app",
    "absent": "???",
    "other": "${x}",
    "text": "${x} $",
    "half": 0.5,
    "none": None,
    "yes": True,
}
NAMES = [f"${{hydra.job.{name}}}" for name in (*JOB, "unknown")]
PIECES = [
    *NAMES,
    "${x}",
    "${hydra.job}",
    "${hydra}",
    "${.dir}",
    "${oc.env:HOME}",
    "a",
    "/",
    " ",
    "\\",
    "$",
    "{",
    "}",
    "???",
]


def config_with(text: str) -> DictConfig:
    """A config with that in hydra.sweep.dir; no example if OmegaConf doesn't take it."""
    try:
        return OmegaConf.create({"x": 3, "hydra": {"job": JOB, "sweep": {"dir": text, "more": {"dir": text}}}})
    except Exception:
        assume(False)
        raise


def attempt(read: Any) -> Any:
    """What is read, or what is wrong."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 (compared)
        return type(error), str(error)


def assert_as_omegaconf_reads_it(text: str) -> None:
    config = config_with(text)
    assert attempt(lambda: text_at(config, "hydra.sweep", "dir", {})) == attempt(lambda: str(config.hydra.sweep.dir))


@pytest.mark.parametrize(
    "text",
    [
        "out",
        "${hydra.job.num}",
        "${hydra.job.name}/${hydra.job.num}.log",
        "${hydra.job.other}",
        "${hydra.job.text}",
        "${hydra.job.half}",
        "${hydra.job.absent}",
        "${hydra.job.unknown}",
        "${hydra.job}",
        "\\${hydra.job.num}",
        "${hydra.job.num}\\\\",
        "???",
    ],
)
def test_a_text_means_what_omegaconf_says(text: str) -> None:
    assert_as_omegaconf_reads_it(text)


@given(st.lists(st.sampled_from(PIECES), max_size=5).map("".join))
def test_any_text_means_what_omegaconf_says(text: str) -> None:
    assert_as_omegaconf_reads_it(text)


@given(st.lists(st.sampled_from(PIECES), max_size=4).map("".join))
def test_a_part_has_its_values_meanwhile_and_is_as_before_afterwards(text: str) -> None:
    config = config_with(text)
    OmegaConf.set_readonly(config.hydra, True)
    OmegaConf.set_struct(config, True)
    part = config.hydra.sweep
    before = OmegaConf.to_yaml(config), attempt(lambda: OmegaConf.to_container(part, resolve=True))
    with with_values(config, part):
        assert attempt(lambda: OmegaConf.to_container(part, resolve=True)) == before[1]
    assert (OmegaConf.to_yaml(config), attempt(lambda: OmegaConf.to_container(part, resolve=True))) == before
    assert OmegaConf.is_readonly(part)
    assert OmegaConf.is_struct(part)


def test_a_part_is_as_before_after_an_error_too() -> None:
    config = config_with("${hydra.job.num}")
    part: Any = config.hydra.sweep
    with contextlib.suppress(ValueError), with_values(config, part):
        assert OmegaConf.to_container(part, resolve=False)["dir"] == 5  # type: ignore[index,call-overload]
        raise ValueError
    assert OmegaConf.to_container(part, resolve=False)["dir"] == "${hydra.job.num}"  # type: ignore[index,call-overload]


def test_there_may_be_no_such_part() -> None:
    with with_values(config_with("a"), None):
        pass


@pytest.mark.parametrize(
    ("text", "is_known"),
    [
        ("out/${now:%Y-%m-%d}/${now:%H-%M-%S}", True),
        ("${now:%f}", True),
        ("out", False),
        ("${now:%f}/${x}", False),
        ("${now:%Y${x}}", False),
        ("\\${now:%f}$", False),
    ],
)
def test_of_times_it_is_known_what_they_mean(text: str, is_known: bool) -> None:
    setup_globals()
    config = config_with(text)
    known = known_time(config.hydra.sweep, "dir")
    assert bool(known) == is_known
    assert text_at(config, "hydra.sweep", "dir", known) == str(config.hydra.sweep.dir)


def test_a_time_is_that_of_the_config_it_is_known_of() -> None:
    known = {"${now:%f}": "then"}
    assert text_at(config_with("${now:%f}"), "hydra.sweep", "dir", known) == "then"


def test_pieces_make_texts_of_every_kind() -> None:
    """That the properties above say something: some texts are named, some are left to OmegaConf, some are refused."""
    kinds: set[Any] = set()
    pairs: Sequence[str] = [first + second for first in PIECES for second in PIECES]
    for text in pairs:
        try:
            config = OmegaConf.create({"x": 3, "hydra": {"job": JOB, "sweep": {"dir": text}}})
        except Exception:  # noqa: BLE001 (whatever is wrong with it)
            kinds.add("refused")
            continue
        said = attempt(lambda: text_at(config, "hydra.sweep", "dir", {}))  # noqa: B023
        kinds.add("an error" if isinstance(said, tuple) else "a text")
    assert kinds == {"refused", "an error", "a text"}
