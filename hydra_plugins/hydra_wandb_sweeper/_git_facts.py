"""What git says of the working directory, asked once for all the trials of an agent.

W&B's SDK asks three to five times for each run, 2 ms each. What an agent is told at its start is of the code that it
has imported, and its trials run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_COMMAND_S = 20.0

# Runs a command and returns what it prints, None if it can't be run or fails.
Ask = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class GitFacts:
    """root: of the repository, None if there is none. commit: what is checked out. remote: the address of `origin`
    without a password, None if it has none."""

    root: Path | None
    commit: str | None = None
    remote: str | None = None

    def sdk_environment(self) -> dict[str, str]:
        """Return the variables by which W&B's SDK doesn't ask git where there is no repository."""
        return {"WANDB_DISABLE_GIT": "true"} if self.root is None else {}

    def sdk_settings(self) -> dict[str, Any]:
        """Return the settings of W&B's SDK (wandb.Settings) by which it need not ask git for the same again."""
        if self.root is None:
            return {}
        settings = {"git_root": str(self.root), "git_commit": self.commit, "git_remote_url": self.remote}
        return {name: value for name, value in settings.items() if value is not None}


def may_be_in_repository(directory: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """False if there is no use in asking git, which takes 2 ms."""
    return "GIT_DIR" in environ or any(os.path.exists(place / ".git") for place in (directory, *directory.parents))


def ask_git(ask: Ask, directory: Path, environ: Mapping[str, str] = os.environ) -> GitFacts | None:
    """Return the facts of a directory, None if git can't tell them (nothing is committed, it isn't installed).

    ask: runs a command in that directory.
    """
    if not may_be_in_repository(directory, environ):
        return GitFacts(None)
    known = (ask(["git", "rev-parse", "--show-toplevel", "HEAD"]) or "").split("\n")
    if len(known) < 2:
        return None
    remote = (ask(["git", "config", "--get", "remote.origin.url"]) or "").strip()
    return GitFacts(Path(known[0]), known[1], without_password(remote) or None)


def without_password(url: str) -> str:
    """Return a git remote's address without the password or token in it."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return url
    place = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    # A name that comes with a password stays; one alone may be a token.
    return urlunsplit(parts._replace(netloc=f"{parts.username}:@{place}" if parts.password is not None else place))


def ask(command: Sequence[str]) -> str | None:
    """Run a command; see Ask."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_COMMAND_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
