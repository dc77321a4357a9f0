"""Signs of life: silence is told from work, whatever the clocks say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._signs import SignOfLife, Signs
from hydra_plugins.hydra_wandb_sweeper._wakeup import Wakeup

LIMIT_S = 600.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "signs").mkdir()
    return tmp_path


def look(signs: Signs, clock: Clock, until_s: float, step_s: float = 60.0) -> list[tuple[float, set[str]]]:
    """Look again and again, and return when who was silent."""
    found = []
    while clock.now < until_s:
        clock.now += step_s
        if signs.is_due and (silent := signs.silent(["a", "b"])):
            found.append((clock.now - 1000.0, silent))
    return found


def test_an_agent_is_silent_once_its_sign_has_not_changed_for_the_limit(root: Path, clock: Clock) -> None:
    SignOfLife(root, "a", clock).give()
    signs = Signs(root, LIMIT_S, clock)
    assert look(signs, clock, 1000.0 + 1000.0) == [(660.0, {"a"})]


def test_an_agent_that_gives_signs_is_never_silent(root: Path, clock: Clock) -> None:
    sign, signs = SignOfLife(root, "a", clock), Signs(root, LIMIT_S, clock)
    for second in range(30):
        clock.now += 120.0
        os.utime(root / "signs" / "a", (second, second)) if second else sign.give()
        assert not signs.silent(["a"])


def test_an_agent_that_never_gave_a_sign_can_not_be_judged(root: Path, clock: Clock) -> None:
    assert look(Signs(root, LIMIT_S, clock), clock, 10_000.0) == []


def test_a_silent_agent_is_named_once_per_limit(root: Path, clock: Clock) -> None:
    SignOfLife(root, "a", clock).give()
    assert len(look(Signs(root, LIMIT_S, clock), clock, 1000.0 + 3 * LIMIT_S)) == 2


def test_who_was_stopped_itself_takes_nobody_for_silent(root: Path, clock: Clock) -> None:
    SignOfLife(root, "a", clock).give()
    signs = Signs(root, LIMIT_S, clock)
    assert not signs.silent(["a"])
    clock.now += 10 * LIMIT_S
    assert not signs.silent(["a"])
    assert look(signs, clock, clock.now + LIMIT_S) == [(11 * LIMIT_S, {"a"})]


def test_clocks_of_other_machines_do_not_matter(root: Path, clock: Clock) -> None:
    (root / "signs" / "a").touch()
    os.utime(root / "signs" / "a", (1.0, 1.0))
    (root / "signs" / "b").touch()
    os.utime(root / "signs" / "b", (4e9, 4e9))
    assert look(Signs(root, LIMIT_S, clock), clock, 1000.0 + LIMIT_S - 60.0) == []


def test_without_a_limit_nobody_is_silent_and_nobody_needs_to_look(root: Path, clock: Clock) -> None:
    SignOfLife(root, "a", clock).give()
    signs = Signs(root, None, clock)
    clock.now += 1e9
    assert not signs.is_due
    assert not signs.silent(["a"])


def test_signs_are_not_given_more_often_than_is_useful(root: Path, clock: Clock) -> None:
    sign, path = SignOfLife(root, "a", clock), root / "signs" / "a"
    sign.give()
    os.utime(path, (1.0, 1.0))
    clock.now += 1.0
    sign.give()
    assert path.stat().st_mtime == 1.0
    clock.now += 10.0
    sign.give()
    assert path.stat().st_mtime > 1.0


def test_a_sign_that_can_not_be_given_disturbs_no_trial(tmp_path: Path, clock: Clock) -> None:
    SignOfLife(tmp_path / "gone", "a", clock).give()


def test_every_wait_of_an_agent_gives_a_sign() -> None:
    given: list[int] = []
    wakeup = Wakeup(lambda: given.append(1))
    reader, writer = os.pipe()
    os.write(writer, b"!")
    wakeup.wait_with([reader], 5.0)
    wakeup.wait_for(reader, 5.0)
    wakeup.set()
    wakeup.wait(5.0)
    wakeup.sleep(5.0)
    assert len(given) == 4


def test_a_long_wait_looks_up_now_and_then_and_still_ends_when_it_should() -> None:
    reader, writer = os.pipe()
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 5:
            os.write(writer, b"!")

    Wakeup(look, tick_s=0.01).wait_with([reader], 3600.0)
    assert len(looks) == 5
    assert Wakeup(look, tick_s=0.01).wait(0.05) is False
    assert len(looks) > 6
