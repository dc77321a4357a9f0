"""The unmodified W&B SDK of some version, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb_sweep_server.launch import ServerAddress


@dataclass(frozen=True)
class Sdk:
    """A version of the SDK and the interpreter that has it."""

    version: tuple[int, int]
    python: Path


@dataclass
class User:
    """Someone with an SDK, a key and a working directory; all runs go to a project of its own."""

    sdk: Sdk
    address: ServerAddress
    directory: Path
    project: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        # W&B reads settings, logins and caches below these.
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "XDG_"))} | {
            "HOME": str(self.directory / "home"),
            "NETRC": os.devnull,
            # `wandb agent` starts the `python` that is found first.
            "PATH": f"{self.sdk.python.parent}{os.pathsep}{os.environ['PATH']}",
            "WANDB_BASE_URL": self.address.url,
            "WANDB_API_KEY": self.address.api_key,
            "WANDB_PROJECT": self.project,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
        }
        Path(self.env["HOME"]).mkdir(exist_ok=True)

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """A command to its end. The name `python` and those of the SDK's scripts stand for the SDK's own."""
        done = subprocess.run(
            self._command(command),
            cwd=self.directory,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """The same without waiting for it; what it prints goes to `log` below the directory."""
        with open(self.directory / "log", "a") as log:
            process = subprocess.Popen(
                self._command(command),
                cwd=self.directory,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def _command(self, command: tuple[str, ...]) -> list[str]:
        return [str(self.sdk.python.parent / command[0]), *command[1:]]

    def python(self, code: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python code to its end."""
        return self.run("python", "-c", textwrap.dedent(code), check=check, **env)

    def result(self, code: str, **env: str) -> Any:
        """Run Python code that calls `result(value)`, and return the value (by way of JSON)."""
        prelude = "import json, wandb\ndef result(value): print('RESULT', json.dumps(value, default=str))\n"
        out = self.python(prelude + textwrap.dedent(code), **env).stdout
        line = next(line for line in out.splitlines() if line.startswith("RESULT "))
        return json.loads(line.removeprefix("RESULT "))

    def log(self) -> str:
        """What started processes printed."""
        return (self.directory / "log").read_text()

    def end(self) -> None:
        """Kill what still runs of what was started, with all that it started."""
        for process in self.started:
            # W&B's agent gives its trials process groups of their own.
            for pid in _of_session(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
    return found
