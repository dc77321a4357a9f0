"""What docs/running-on-slurm.md shows is what happens: its runs are played, and print lines like the page's."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of, commands_of
from tests.docs.conftest import DOCS
from tests.docs.scratch import Scratch
from tests.docs.transcripts import as_shown, lines_missing
from tests.integration.sweeper.conftest import heed_terminal
from tests.slurm.conftest import SlurmProject, events
from tests.slurm.test_deaths import running_agents
from tests.waiting import wait_for

PARTS = {block.part_of: block for block in blocks_of(DOCS / "running-on-slurm.md") if block.part_of}
APP = """\
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    if cfg.lr > 1:
        raise FloatingPointError(f"loss is nan with lr={cfg.lr}")
{checkpoint}
    return cfg.lr + cfg.dropout / 10


if __name__ == "__main__":
    main()
"""
LIMIT_S = 600.0


@dataclass
class Shell:
    """Somebody's shell in the project, on a cluster: what they type is what the page has."""

    scratch: Scratch
    project: SlurmProject
    seen: set[str] = field(default_factory=set)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: str, log: str) -> Running:
        """Start a command and go on."""
        path = self.scratch.home / f"{log}.log"
        with open(path, "wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.scratch.directory, env=self.scratch.environment(),
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, preexec_fn=heed_terminal,
            )  # fmt: skip
        self._started.append(process)
        return Running(process, path)

    def start_part(self, name: str) -> Running:
        """Start the only command of a part of the page."""
        (command,) = commands_of(PARTS[name])
        return self.start(command.text, name.replace(" ", "-"))

    def run(self, command: str) -> str:
        """Run a command to its end; returns what it prints."""
        running = self.start(command, "a-command")
        assert running.wait() == 0, running.text()
        return running.text()

    def sweep(self, name: str) -> Path:
        """Where a sweep's directory is."""
        return self.scratch.directory / "multirun" / name

    def agents(self, sweep: str, count: int) -> dict[str, int]:
        """Wait for so many agents that work; returns their names and processes."""

        def found() -> dict[str, int]:
            return {agent["by"]: agent["pid"] for agent in running_agents(self.project, self.sweep(sweep))}

        wait_for(lambda: len(found()) >= count, f"{count} agents work", LIMIT_S)
        return found()

    def wait_for_ends(self, sweep: str, count: int) -> None:
        """Wait until so many trials have ended."""
        ended = lambda: sum(e["event"] == "ended" for e in events(self.sweep(sweep)))  # noqa: E731
        wait_for(lambda: ended() >= count, f"{count} trials have ended", LIMIT_S)

    def job_logs(self, sweep: str) -> str:
        """What the jobs of a sweep have printed."""
        logs = sorted((self.sweep(sweep) / ".submitit").glob("*/*_log.out"))
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def wait_until_idle(self) -> None:
        """Wait until no job is left."""

        def is_idle() -> bool:
            self.project.hurry()
            return not self.project.jobs()

        wait_for(is_idle, "the queue is empty", LIMIT_S)

    def expect(self, printed: Mapping[str, str]) -> None:
        """What was printed has the lines of the parts of the page whose names it has."""
        places = {str(self.scratch.directory.parent): "~", socket.gethostname(): "login", "root": "user"}
        found = {name: as_shown(text, places) for name, text in printed.items()}
        # Whoever renews the page finds all of it there.
        for name, text in found.items():
            (self.scratch.home / f"{name}.txt").write_text(text)
        for name, text in found.items():
            block = PARTS[name]
            commands = {line for command in commands_of(block) for line in f"$ {command.text}".splitlines()}
            shown = "\n".join(line for line in block.text.splitlines() if line not in commands and line != "^C")
            assert lines_missing(shown, text) == [], f"{block}:\n{text}"

    def end(self) -> None:
        """End what is still there."""
        for process in self._started:
            process.kill()
            process.wait()
        self.scratch.end()


@dataclass
class Running:
    """A command that was started."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_text(self, words: str) -> None:
        """Wait until it has printed them."""
        wait_for(lambda: words in self.text() or self.process.poll() is not None, f"{words!r} is printed", LIMIT_S)
        assert words in self.text(), self.text()

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        return self.process.wait(timeout=LIMIT_S)


@pytest.fixture
def shell(project: SlurmProject, tmp_path: Path) -> Iterator[Shell]:
    """A shell in a new project with an app that writes the page's checkpoints, after epochs of a second."""
    scratch = Scratch(tmp_path / "user" / "project", tmp_path / "home")
    checkpoint = textwrap.indent(PARTS["a checkpoint"].text.replace("    ...", "    time.sleep(1)"), " " * 4)
    scratch.write("train.py", APP.replace("{checkpoint}", checkpoint))
    shell = Shell(scratch, project)
    yield shell
    shell.end()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_run_in_which_an_agent_is_killed_others_come_and_go_and_jobs_reach_their_time_limits(shell: Shell) -> None:
    supervisor = shell.start_part("a run")
    kill(shell.agents("a", 3)["agent-1"])
    supervisor.wait_for_text("more job(s) in 2 s.")
    shell.wait_for_ends("a", 1)
    add, drain, status = (command.text for command in commands_of(PARTS["steering"]))
    steering = shell.run(add)
    shell.agents("a", 4)
    steering += shell.run(drain) + shell.run(status)
    follower = shell.start_part("following")
    follower.wait_for_text(" finished, ")
    follower.send(signal.SIGINT)
    assert follower.wait() == 128 + signal.SIGINT
    assert supervisor.wait() == 0, supervisor.text()
    shell.expect(
        {
            "a run": supervisor.text(),
            "steering": steering,
            "following": follower.text(),
            "a job's log": shell.job_logs("a"),
        }
    )


def test_a_run_that_nobody_watches_is_gone_on_with_by_keepers(shell: Shell) -> None:
    sweep, squeue = (command.text for command in commands_of(PARTS["left alone"]))
    printed = shell.run(sweep)
    victim = shell.agents("b", 2)["agent-1"]
    printed += shell.run(squeue)
    kill(victim)
    shell.wait_until_idle()
    shell.expect({"left alone": printed, "keepers": shell.job_logs("b")})


def test_a_run_that_is_interrupted_once(shell: Shell) -> None:
    supervisor = shell.start_part("Ctrl-C once")
    shell.agents("c", 2)
    shell.wait_for_ends("c", 1)
    shell.agents("c", 2)
    supervisor.send(signal.SIGINT)
    assert supervisor.wait() == 128 + signal.SIGINT
    shell.expect({"Ctrl-C once": supervisor.text()})


def test_a_run_that_is_interrupted_twice_and_then_left_by_its_supervisor(shell: Shell) -> None:
    supervisor = shell.start_part("Ctrl-C twice")
    shell.agents("c2", 2)
    wait_for(lambda: len(list(shell.sweep("c2").glob("*/checkpoint.txt"))) == 2, "two trials are under way")
    supervisor.send(signal.SIGINT)
    supervisor.wait_for_text("Ctrl-C again stops them")
    supervisor.send(signal.SIGINT)
    assert supervisor.wait() == 128 + signal.SIGINT
    attached = shell.start_part("the terminal is closed")
    shell.agents("c2", 2)
    attached.send(signal.SIGHUP)
    assert attached.wait() == 128 + signal.SIGHUP
    shell.expect({"Ctrl-C twice": supervisor.text(), "the terminal is closed": attached.text()})


def test_a_run_whose_cluster_takes_few_jobs_at_a_time(shell: Shell) -> None:
    supervisor = shell.start_part("a limit on jobs")
    assert supervisor.wait() == 0, supervisor.text()
    shell.expect({"a limit on jobs": supervisor.text()})


def test_a_run_of_several_agents_per_job_in_which_trials_fail(shell: Shell) -> None:
    sweep, status = (command.text for command in commands_of(PARTS["failures"]))
    shell.expect({"failures": shell.run(sweep) + shell.run(status), "several agents per job": shell.job_logs("d")})


def test_a_run_that_nobody_watches_when_a_job_s_time_limit_is_near(shell: Shell) -> None:
    (command,) = commands_of(PARTS["back into the queue"])
    shell.run(command.text)
    shell.wait_until_idle()
    shell.expect({"back into the queue": shell.job_logs("e")})


def test_a_run_that_two_commands_share(shell: Shell) -> None:
    first = shell.start_part("the first of two commands")
    shell.agents("f", 1)
    (command,) = commands_of(PARTS["joining"])
    (sweep_id,) = set(re.findall(r"Created sweep (\S+)", first.text()))
    second = shell.start(re.sub(r"local/train/\w+", sweep_id, command.text), "joining")
    assert second.wait() == 0, second.text()
    assert first.wait() == 0, first.text()
    shell.expect({"joining": second.text()})
