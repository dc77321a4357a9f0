"""A scratch project in which the blocks of a page are run: a Hydra app with config groups, the embedded server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import Block, commands_of, first_line_missing
from tests.integration.sweeper.conftest import heed_terminal
from tests.waiting import wait_for
from wandb_sweep_server.launch import read_address

_FILES = {
    "train.py": """\
import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    return (cfg.lr - 0.01) ** 2 + cfg.dropout + cfg.model.penalty


if __name__ == "__main__":
    main()
""",
    "conf/config.yaml": """\
defaults:
  - model: mlp
  - _self_
lr: 0.1
dropout: 0.1
batch: 32
epochs: 1
note: none
trainer:
  devices: 1
  strategy: auto
""",
    "conf/model/mlp.yaml": "width: 32\npenalty: 0.0\n",
    "conf/model/cnn.yaml": "width: 16\npenalty: 0.1\n",
}
_TIMEOUT_S = 120
# What blocks' hidden commands may use.
_COMMANDS = Path(__file__).with_name("commands")
# Nothing on the internet can be reached through it, and what tries fails at once.
_NO_PROXY_LISTENS_HERE = "http://127.0.0.1:9"


@dataclass
class Scratch:
    """A project directory, and the environment of the shell in it: what one block sets, the next ones have.

    is_empty: without an app; the page brings its own.
    """

    directory: Path
    home: Path
    is_empty: bool = False
    _exports: Path = field(init=False)
    _began_s: int = 0

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self.home.mkdir(exist_ok=True)
        self._exports = self.home / f"exports-{self.directory.name}.sh"
        for name, text in () if self.is_empty else _FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, block: Block) -> None:
        """Do what a block says. Raises: AssertionError with its place and what was printed."""
        if block.file is not None:
            self.write(block.file, block.text)
        elif block.language == "python":
            self._expect(block, f"{sys.executable} - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n", block.status)
        elif block.until is not None:
            self._run_until(block.until, _in_full(block.text, block))
        elif block.language == "bash":
            self._expect(block, _in_full(block.text, block), block.status)
        elif block.language == "console":
            commands = commands_of(block)
            for command in commands:
                is_last = command is commands[-1]
                script = _in_full(command.text, block) if is_last else command.text
                printed = self._expect(block, script, block.status if is_last else 0)
                missing = first_line_missing(command.shown, printed)
                assert missing is None, f"{block}: `{command.text}` didn't print\n    {missing}\nbut\n{printed}"

    def _run_until(self, file: str, script: str) -> None:
        command = ["bash", "-c", f"exec {script}"]
        with subprocess.Popen(
            command, cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            preexec_fn=heed_terminal,
        ) as process:  # fmt: skip
            try:
                wait_for((self.directory / file).exists, f"{script} has written {file}")
                process.send_signal(signal.SIGINT)
                assert process.wait(_TIMEOUT_S) == 0, script
            finally:
                process.kill()

    def _expect(self, block: Block, script: str, status: int) -> str:
        done = self._bash(script)
        printed = done.stdout + done.stderr
        assert done.returncode == status, f"{block}: ended with status {done.returncode}:\n{script}\n{printed}"
        return printed

    def _bash(self, script: str) -> subprocess.CompletedProcess[str]:
        # Hydra's default directory of a sweep has the second in its name.
        wait_for(lambda: int(time.time()) != self._began_s, "the next second")
        self._began_s = int(time.time())
        keep = f"trap 'export -p >{self._exports}' EXIT"
        before = f"source {self._exports}" if self._exports.exists() else ":"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{before}\n{keep}\nset -o allexport\n{script}"],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )

    def environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NO_PROXY_LISTENS_HERE)
        return {
            **own,
            **proxies,
            "NO_PROXY": f"127.0.0.1,localhost,{socket.gethostname()}",
            "HOME": str(self.home),
            "PATH": os.pathsep.join((str(_COMMANDS), str(Path(sys.executable).parent), os.environ["PATH"])),
            "WANDB_ERROR_REPORTING": "false",
            "BROWSER": "true",  # the program that is called with an address
        }

    def end(self) -> None:
        """End the servers that were started in the project."""
        for place in self.directory.rglob("server.json"):
            address = read_address(place.parent)
            if address is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(address.pid, signal.SIGTERM)


def _in_full(script: str, block: Block) -> str:
    name, value = block.where
    script = script.replace(name, value) if name else script
    before = f"{block.before}\n" if block.before else ""
    return f"{before}{script.rstrip()} {block.added}".rstrip() + "\n"
