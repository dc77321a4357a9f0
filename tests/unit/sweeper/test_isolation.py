"""Trials end with all they started, whatever they do about it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper import _isolation, _onlooker
from hydra_plugins.hydra_wandb_sweeper._isolation import ForkIsolation, fork_hazard
from hydra_plugins.hydra_wandb_sweeper._ledger import Trial
from hydra_plugins.hydra_wandb_sweeper._wakeup import Wakeup
from tests.waiting import wait_for

TRIAL = Trial(0, 0, "run")


@pytest.fixture
def fork(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], _isolation.TrialProcess]:
    """Fork a function in place of a trial."""

    def start(function: Callable[[], int], wakeup: Wakeup | None = None) -> _isolation.TrialProcess:
        return isolated(monkeypatch, function, wakeup).start(TRIAL, Path("unused"))

    return start


def isolated(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[], int], wakeup: Wakeup | None = None
) -> ForkIsolation:
    """An isolation whose trials are this function."""
    monkeypatch.setattr(_isolation, "run_trial", lambda *_, **__: function())
    return ForkIsolation(None, None, wakeup or Wakeup())  # type: ignore[arg-type]


def ended(process: _isolation.TrialProcess) -> int:
    wait_for(lambda: process.wait(1), "the trial ends")
    return process.exit_code


def is_alive(pid: int) -> bool:
    """True for a process that runs; False for one that is gone or waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_trial_s_exit_code_is_its_function_s(fork: Any) -> None:
    assert ended(fork(lambda: 7)) == 7


def test_a_trial_that_dies_by_a_signal_shows_it_as_a_negative_code(fork: Any) -> None:
    def die() -> int:
        os.kill(os.getpid(), signal.SIGSEGV)
        return 0

    assert ended(fork(die)) == -signal.SIGSEGV


def test_a_stop_is_asked_for_politely_first(fork: Any, tmp_path: Path) -> None:
    def polite() -> int:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(42))
        (tmp_path / "ready").touch()
        while True:
            signal.pause()

    process = fork(polite)
    wait_for((tmp_path / "ready").exists, "the trial is ready")
    process.terminate(grace_s=30)
    assert process.exit_code == 42


def test_a_trial_that_ignores_the_request_is_killed_after_the_grace_time(fork: Any, tmp_path: Path) -> None:
    def stubborn() -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (tmp_path / "ready").touch()
        while True:
            signal.pause()

    process = fork(stubborn)
    wait_for((tmp_path / "ready").exists, "the trial is ready")
    process.terminate(grace_s=0.2)
    assert process.exit_code == -signal.SIGKILL


def test_what_a_trial_left_running_ends_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def leave_something_behind() -> int:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pid_file.write_text(str(child.pid))
        return 0

    isolation = isolated(monkeypatch, leave_something_behind)
    assert ended(isolation.start(TRIAL, Path("unused"))) == 0
    isolation.wait_until_clear()
    pid = int(pid_file.read_text())
    wait_for(lambda: not is_alive(pid), "the trial's own process is gone")


def test_a_trial_has_ended_once_it_has_said_so_and_the_next_one_waits_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release, pids = tmp_path / "release", tmp_path / "pids"

    def work() -> int:
        with pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return 3

    def exit_late(code: int) -> None:
        wait_for(release.exists, "the exit is let go on")
        leave(code)

    leave = os._exit
    isolation = isolated(monkeypatch, work)
    monkeypatch.setattr(os, "_exit", exit_late)
    process = isolation.start(TRIAL, Path("unused"))
    assert ended(process) == 3
    (first,) = map(int, pids.read_text().split())
    assert is_alive(first)
    threading.Timer(0.2, release.touch).start()
    following = isolation.start(TRIAL, Path("unused"))
    assert not is_alive(first)
    assert release.exists()
    assert ended(following) == 3
    isolation.close()
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("closes", ["all descriptors", "all, and opens others"])
def test_a_trial_that_has_closed_what_it_does_not_know_ends_all_the_same(
    fork: Any, tmp_path: Path, closes: str
) -> None:
    def work() -> int:
        os.closerange(3, 1000)
        if closes != "all descriptors":
            for number in range(100):
                os.open(tmp_path / f"own{number}", os.O_WRONLY | os.O_CREAT)
        return 5

    assert ended(fork(work)) == 5
    assert all(path.read_bytes() == b"" for path in tmp_path.glob("own*"))


def test_a_trial_dies_with_its_agent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    agent = os.fork()
    if agent == 0:
        _isolation.run_trial = lambda *_, **__: (pid_file.write_text(str(os.getpid())), time.sleep(600))  # type: ignore
        ForkIsolation(None, None, Wakeup()).start(TRIAL, Path("unused"))  # type: ignore[arg-type]
        time.sleep(600)
        os._exit(0)
    trial = int(wait_for(lambda: pid_file.exists() and pid_file.read_text(), "the trial runs"))
    os.kill(agent, signal.SIGKILL)
    os.waitpid(agent, 0)
    wait_for(lambda: not is_alive(trial), "the trial is gone")


def test_a_trial_does_not_inherit_the_agent_s_signal_handlers(fork: Any) -> None:
    def handlers() -> int:
        # SIGUSR2 is ignored until the task begins: a warning may come before.
        defaults = (signal.SIG_DFL, signal.default_int_handler, signal.SIG_IGN)
        numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
        return 0 if all(signal.getsignal(n) in defaults for n in numbers) else 1

    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert ended(fork(handlers)) == 0
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_waiting_for_a_trial_ends_when_the_agent_is_woken(fork: Any, tmp_path: Path) -> None:
    wakeup = Wakeup()
    process = fork(lambda: time.sleep(600) or 0, wakeup)
    wakeup.set()
    assert not process.wait(600)
    process.terminate(grace_s=10)


def test_an_agent_with_threads_must_not_fork() -> None:
    import threading

    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="of the user's code")
    thread.start()
    try:
        assert "of the user's code" in (fork_hazard() or "")
    finally:
        release.set()
        thread.join()


@pytest.mark.parametrize(
    ("has_terminal", "is_debugged", "seen"),
    [(False, False, True), (True, False, False), (False, True, False)],
    ids=["a pipe", "a terminal", "a debugger"],
)
def test_somebody_looks_on_beside_a_trial_in_this_process_where_nobody_sits_at_a_prompt(
    monkeypatch: pytest.MonkeyPatch, has_terminal: bool, is_debugged: bool, seen: bool
) -> None:
    looks: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(_onlooker, "log_terminal", lambda: sys.stderr if has_terminal else None)
    monkeypatch.setattr(_onlooker, "_LOOK_S", 0.01)
    monkeypatch.setattr(sys, "gettrace", lambda: print if is_debugged else None)
    before = threading.active_count()

    def trial(*_: object) -> int:
        assert threading.active_count() == before + seen
        if seen:
            looks.get(timeout=60)
        return 0

    monkeypatch.setattr(_isolation, "run_trial", trial)
    isolation = _isolation.InlineIsolation(None, None, lambda: looks.put("looked"))  # type: ignore[arg-type]
    assert isolation.start(TRIAL, Path("unused")).exit_code == 0
    assert threading.active_count() == before
