"""A sweep as whoever sits at a terminal sees it: one display, log lines above it, and a sane terminal afterwards."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.sweeper.conftest import Project
from tests.integration.sweeper.test_command import LAUNCHERS, begun, go, number_of
from tests.integration.sweeper.test_failures import events
from tests.terminal import TerminalProcess, in_terminal
from tests.waiting import wait_for

# Trials wait for a file of their x, and write wherever a program can.
APP = """
import logging, os, subprocess, sys, time
from pathlib import Path
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    marks = Path(cfg.marks)
    marks.mkdir(exist_ok=True)
    (marks / f"{cfg.x}-{time.time_ns()}").write_text("")
    print(f"NOISE of x={cfg.x}")
    print("NOISE on standard error", file=sys.stderr)
    logging.getLogger("app").warning("NOISE in a log")
    subprocess.run(["sh", "-c", "echo NOISE of a subprocess; echo NOISE >&2"], check=True)
    os.write(1, b"NOISE past Python\\n")
    while not (Path(f"go-{cfg.x}").exists() or Path("go-all").exists()):
        time.sleep(0.02)
    if Path(f"fail-{cfg.x}").exists():
        raise ValueError(f"x={cfg.x} is no good")
    return float(cfg.x)


if __name__ == "__main__":
    main()
"""
IN_PLACE = ["basic", "submitit_local"]
HIDE_CURSOR = "\x1b[?25l"


@pytest.fixture
def gated(project: Project) -> Project:
    """The project with the app above."""
    (project.directory / "app.py").write_text(APP)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "JPY_PARENT_PID"):
        project.env.pop(name, None)
    project.env["TERM"] = "xterm-256color"
    return project


@contextmanager
def sweeping(project: Project, *arguments: str, columns: int = 100, **env: str) -> Iterator[TerminalProcess]:
    """A sweep of this project's app in a terminal, in `project/sweep`."""
    own = [
        "-m",
        "hydra/sweeper=wandb",
        f"hydra.sweep.dir={project.directory / 'sweep'}",
        "hydra.sweeper.max_retries=0",
    ]
    command = [sys.executable, "app.py", *own, *arguments]
    with in_terminal(command, str(project.directory), {**project.env, **env}, columns) as process:
        yield process


def shows(process: TerminalProcess, *patterns: str) -> bool:
    """True if a part of the screen matches each of these."""
    return all(re.search(pattern, process.screen.text()) for pattern in patterns)


def logged(project: Project) -> list[str]:
    """The messages of the supervisor's log file, as lines."""
    text = (project.directory / "sweep" / ".sweep" / "supervisor.log").read_text()
    return [re.sub(r"^\[[^\]]*\]\[[A-Z]+\] ", "", line) for line in text.splitlines()]


def assert_untorn(process: TerminalProcess, project: Project) -> None:
    """In the end nothing of the display is left, and each line of the log is whole and there once."""
    text = process.screen.text()
    assert "━" not in text
    assert "queued" not in text
    assert process.screen.has_cursor
    # Lines that are longer than the terminal is wide go on in the next one.
    unwrapped = text.replace("\n", "")
    for line in logged(project):
        assert line.rstrip() in unwrapped, f"{line!r} is torn:\n{text}\nas it was written:\n{process.written!r}"
    for line in text.splitlines():
        assert line.count("[HYDRA]") <= 1, line


@pytest.mark.parametrize("launcher", IN_PLACE)
def test_a_terminal_has_one_display_in_place_and_what_is_logged_above_it(gated: Project, launcher: str) -> None:
    (gated.directory / "fail-2").touch()
    with sweeping(gated, "x=1,2,3", "hydra.sweeper.max_failure_rate=1", *LAUNCHERS[launcher]) as process:
        running = 1 if launcher == "basic" else 2
        process.read_until(
            lambda p: shows(p, "0/3 ended", f"{running} running", r"agent-0 .* running +[01] ", "time left unknown"),
            "a display of the first trials",
        )
        assert not process.screen.has_cursor
        go(gated, 1, 2)
        process.read_until(
            lambda p: shows(p, "2/3 ended", "1 failed", r"best objective 1  trial \d  x=1", "about .* left"),
            "a display after two of three have ended",
        )
        best, failed = (number_of(gated.directory / "sweep", x) for x in (1, 2))
        assert shows(process, f"trial {best}  x=1")
        assert shows(process, f"trial {failed} failed: ValueError: x=2 is no good", rf"{failed}/trial\.log")
        go(gated, "all")
        assert process.wait() == 0, process.screen.text()
    # It was redrawn in place: no picture has it twice.
    assert all(len(re.findall(r"\d/3 ended", picture)) <= 1 for picture in process.pictures)
    assert "NOISE" not in process.written
    assert_untorn(process, gated)
    assert "NOISE past Python" in (gated.directory / "sweep" / "0" / "trial.log").read_text()


@pytest.mark.parametrize("launcher", IN_PLACE)
def test_ctrl_c_twice_leaves_the_terminal_as_it_was(gated: Project, launcher: str) -> None:
    with sweeping(gated, "x=1,2,3", *LAUNCHERS[launcher]) as process:
        process.read_until(lambda p: shows(p, "0/3 ended", "agent-0 .* running"), "the display")
        process.press("\x03")
        process.read_until(
            lambda p: shows(p, "Ctrl-C again stops them", "no more trials begin$|no more trials begin\n"), ""
        )
        process.press("\x03")
        assert process.wait() == 130, process.screen.text()
    assert_untorn(process, gated)
    assert "hydra-sweep attach" in process.screen.text()


def test_a_supervisor_that_is_told_to_end_leaves_the_terminal_as_it_was(gated: Project) -> None:
    with sweeping(gated, "x=1,2,3", *LAUNCHERS["submitit_local"]) as process:
        process.read_until(lambda p: shows(p, "0/3 ended", "2 running"), "the display")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 143, process.screen.text()
    go(gated, "all")  # its agents go on
    agents = [e["pid"] for e in events(gated.directory / "sweep") if e["event"] == "agent_started"]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in agents), "its agents have ended")
    assert_untorn(process, gated)


def test_a_user_s_error_leaves_the_terminal_as_it_was(gated: Project) -> None:
    for x in (1, 2):
        (gated.directory / f"fail-{x}").touch()
    go(gated, "all")
    with sweeping(gated, "x=1,2") as process:
        assert process.wait() == 1
    assert "The sweep failed" in process.screen.text()
    assert process.screen.has_cursor


def test_a_sweep_in_the_shell_s_background_has_a_display_too_and_is_not_stopped_for_it(gated: Project) -> None:
    go(gated, "all")
    sweep = f"-m hydra/sweeper=wandb hydra.sweep.dir={gated.directory / 'sweep'} x=1,2"
    command = ["sh", "-c", f"set -m; {sys.executable} app.py {sweep} & wait $!"]
    with in_terminal(command, str(gated.directory), gated.env) as process:
        assert process.wait() == 0, process.screen.text()
    assert HIDE_CURSOR in process.written
    assert_untorn(process, gated)


PLAIN = {
    "a narrow terminal": ((), 50, {}),
    "NO_COLOR": ((), 100, {"NO_COLOR": "1"}),
    "TERM=dumb": ((), 100, {"TERM": "dumb"}),
    "a command of a notebook": ((), 100, {"JPY_PARENT_PID": "7"}),
    "trials in this process": (("hydra.sweeper.isolation=none",), 100, {}),
    "agents in other processes": (LAUNCHERS["joblib"], 100, {}),
    "several agents in this job": (("hydra.sweeper.agents_per_job=2",), 100, {}),
}


@pytest.mark.parametrize(("arguments", "columns", "env"), PLAIN.values(), ids=list(PLAIN))
def test_elsewhere_there_are_plain_lines(
    gated: Project, arguments: tuple[str, ...], columns: int, env: dict[str, str]
) -> None:
    go(gated, "all")
    with sweeping(gated, "x=1,2", *arguments, columns=columns, **env) as process:
        assert process.wait() == 0, process.screen.text()
    assert HIDE_CURSOR not in process.written
    assert "\x1b" not in process.written, "colours and the like are of no use there"
    assert "Best objective: 1 (x=1)" in process.screen.text().replace("\n", "")


def test_a_pipe_gets_plain_lines_whatever_colours_are_asked_for(gated: Project) -> None:
    go(gated, "all")
    sweep = gated.sweep("x=1,2", *LAUNCHERS["submitit_local"], FORCE_COLOR="1")
    assert "\x1b" not in sweep.output
    assert re.search(r"\[HYDRA\] \[1/2\] trial \d finished, objective=\d \(x=\d\)", sweep.output)
    assert "━" not in sweep.output


SILENT = {
    "basic": (),
    "in this process": ("+hydra.job.env_set.MINE=1",),
    "trials in this process": ("hydra.sweeper.isolation=none",),
    "submitit_local": LAUNCHERS["submitit_local"],
    "joblib": LAUNCHERS["joblib"],
}


def test_a_pipe_hears_every_30_s_how_far_it_is_while_nothing_happens(gated: Project) -> None:
    """All at the same time: it takes that long."""
    started = [gated.start("x=1,2", *arguments) for arguments in SILENT.values()]
    logs = {name: directory / "supervisor.log" for name, (_, directory) in zip(SILENT, started, strict=True)}
    line = re.compile(r"\] (- )?0/2 trial\(s\) have ended, [12] running, [01] to begin; ")
    for name, log in logs.items():
        wait_for(lambda log=log: line.search(log.read_text()), f"a line of {name}", timeout_s=120)
    go(gated, "all")
    for process, _ in started:
        assert process.wait(timeout=120) == 0
    for log in logs.values():
        assert "\x1b" not in log.read_text()


def test_attach_shows_the_same_display(gated: Project) -> None:
    process, directory = gated.start("x=1,2", *LAUNCHERS["submitit_local"])
    begun(gated, 2)
    command = [str(Path(sys.executable).with_name("hydra-sweep")), "attach", str(directory)]
    with in_terminal(command, str(gated.directory), gated.env) as attached:
        attached.read_until(
            lambda p: shows(p, "supervises the sweep; following it", "0/2 ended", r"agent-1 .* running +\d"),
            "the display",
        )
        go(gated, "all")
        assert attached.wait() == 0, attached.screen.text()
    assert process.wait(timeout=60) == 0
    assert "━" not in attached.screen.text()
    assert attached.screen.has_cursor
