"""Real sweeps: a small Hydra app in a project of its own, the embedded server it starts, the real W&B SDK."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from wandb_sweep_server.launch import ServerAddress, read_address

APP = '''
import os, signal, sys, time
from pathlib import Path
import hydra
from omegaconf import OmegaConf


def misbehave(cfg):
    """What `cfg.behave` says, in the first attempts (as many as `cfg.times`)."""
    marks = Path(cfg.marks)
    marks.mkdir(exist_ok=True)
    attempt = len(list(marks.glob(f"{cfg.x}-*")))
    (marks / f"{cfg.x}-{attempt}").write_text(os.environ.get("WANDB_RUN_ID", ""))
    Path("trial.pid").write_text(str(os.getpid()))
    if attempt >= cfg.times or (cfg.only is not None and cfg.x != cfg.only):
        return
    if cfg.behave == "raise":
        raise ValueError(f"x={cfg.x} is no good")
    if cfg.behave == "exit":
        sys.exit(3)
    if cfg.behave == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if cfg.behave == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.behave == "hang":
        while True:
            time.sleep(0.05)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    print(f"trial of x={cfg.x} says hello")
    misbehave(cfg)
    return float(cfg.x) + cfg.model.offset


if __name__ == "__main__":
    main()
'''
CONFIG = {
    "config.yaml": """
defaults:
  - _self_
  - model: small
x: 0
y: text
lr: 0.1
n: null
behave: null
times: 99
only: null
marks: marks
""",
    "model/small.yaml": "name: small\noffset: 0.25\n",
    "model/wide.yaml": "name: wide\noffset: 0.5\n",
}


def heed_terminal() -> None:
    """In a new process: Ctrl-C and the end of the terminal mean something, however the tests were started."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Project:
    """A user's project directory with app.py and conf/."""

    directory: Path
    env: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """`python app.py ARGUMENTS`, to its end."""
        done = subprocess.run(
            [sys.executable, "app.py", *arguments],
            cwd=self.directory,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def sweep(self, *arguments: str, check: bool = True, **env: str) -> Sweep:
        """A multirun under hydra/sweeper=wandb in a sweep directory of its own."""
        directory = self.directory / f"sweep{len(list(self.directory.glob('sweep*')))}"
        done = self.run("-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={directory}", *arguments, check=check, **env)
        return Sweep(directory, done)

    def start(self, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
        """The same without waiting; returns the process and the sweep directory."""
        directory = self.directory / f"sweep{len(list(self.directory.glob('sweep*')))}"
        directory.mkdir()
        with open(directory / "supervisor.log", "w") as log:
            process = subprocess.Popen(
                [sys.executable, "app.py", "-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={directory}", *arguments],
                cwd=self.directory,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                stdin=subprocess.DEVNULL,
                preexec_fn=heed_terminal,
            )
        self.started.append(process)
        return process, directory

    def end(self) -> None:
        """End what a failed test left, and the server."""
        for process in self.started:
            process.kill()
        address = read_address(self.directory / ".wandb_sweep_server")
        if address is not None:
            with contextlib.suppress(ProcessLookupError):  # it died with its node
                os.kill(address.pid, signal.SIGTERM)

    def server(self) -> ServerAddress:
        """The embedded server of this project."""
        address = read_address(self.directory / ".wandb_sweep_server")
        assert address is not None
        return address

    def wandb_env(self) -> dict[str, str]:
        """The environment in which W&B's own tools talk to this project's server."""
        address = self.server()
        return {**self.env, "WANDB_BASE_URL": address.url, "WANDB_API_KEY": address.api_key}

    def python(self, code: str) -> str:
        """Run code with W&B's SDK pointed at this project's server; returns what it prints."""
        return self._python(code, self.wandb_env())

    def python_without_server(self, code: str) -> str:
        """Run code that knows nothing of the server."""
        return self._python(code, self.env)

    def _python(self, code: str, env: dict[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.directory, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self) -> list[dict[str, Any]]:
        """All runs of all sweeps, as W&B's public API shows them."""
        out = self.python(
            "import wandb, json\n"
            "runs = wandb.Api().runs('local/app')\n"
            "print('RESULT', json.dumps([dict(id=r.id, name=r.name, state=r.state, group=r.group, tags=r.tags,"
            " config=dict(r.config), summary={k: v for k, v in r.summary.items() if not k.startswith('_')})"
            " for r in runs]))"
        )
        line = next(line for line in out.splitlines() if line.startswith("RESULT "))
        loaded: list[dict[str, Any]] = yaml.safe_load(line.removeprefix("RESULT "))
        return loaded

    def marks(self) -> dict[str, str]:
        """Which attempts of which x there were, and under which run id."""
        return {path.name: path.read_text() for path in sorted((self.directory / "marks").glob("*"))}


@dataclass
class Sweep:
    """What a sweep left."""

    directory: Path
    process: subprocess.CompletedProcess[str]

    @property
    def output(self) -> str:
        return self.process.stdout + self.process.stderr

    @property
    def results(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.directory / "optimization_results.yaml").read_text())
        return loaded

    @property
    def trials(self) -> list[dict[str, str]]:
        with open(self.directory / "trials.csv", newline="") as file:
            return list(csv.DictReader(file))

    def overrides(self) -> list[list[str]]:
        """The task overrides of every trial that ran, as Hydra recorded them."""
        files = sorted(self.directory.glob("*/.hydra/overrides.yaml"))
        return [yaml.safe_load(path.read_text()) for path in files]


def make_project(parent: Path) -> Project:
    """A project with the app above, in a directory below `parent`."""
    directory = parent / "project"
    for name, text in CONFIG.items():
        path = directory / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "app.py").write_text(APP)
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    env |= {"HOME": str(parent), "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1", "WANDB_SILENT": "true"}
    return Project(directory, env)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project with the app above; the server that it starts is stopped at the end."""
    project = make_project(tmp_path)
    yield project
    project.end()
