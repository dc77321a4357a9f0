"""What is asked of git, and what W&B's SDK is told of it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._git_facts import GitFacts, ask, ask_git, without_password


def never(command: Sequence[str]) -> str | None:
    """Nobody is to be asked."""
    raise AssertionError(command)


def git(directory: Path, *arguments: str) -> str:
    """What git says in a directory."""
    identity = ["-c", "user.name=n", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_git_is_not_asked_where_there_is_no_repository(tmp_path: Path) -> None:
    facts = ask_git(never, tmp_path, {})
    assert facts == GitFacts(None)
    assert facts.sdk_environment() == {"WANDB_DISABLE_GIT": "true"}
    assert facts.sdk_settings() == {}


def test_git_is_asked_if_the_environment_names_a_repository(tmp_path: Path) -> None:
    answers = {"rev-parse": f"{tmp_path}\nc0ffee", "config": ""}
    assert ask_git(lambda command: answers[command[1]], tmp_path, {"GIT_DIR": "/x"}) == GitFacts(tmp_path, "c0ffee")


def test_the_facts_of_a_repository_are_those_of_its_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://me:secret@example.com/a.git")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    facts = ask_git(ask, below, {})
    remote = "https://me:@example.com/a.git"
    assert facts == GitFacts(tmp_path, git(tmp_path, "rev-parse", "HEAD"), remote)
    assert facts.sdk_environment() == {}
    assert facts.sdk_settings() == {
        "git_root": str(tmp_path),
        "git_commit": facts.commit,
        "git_remote_url": remote,
    }


def test_what_git_cannot_tell_is_left_to_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    assert ask_git(ask, tmp_path, {}) is None


def test_a_repository_without_a_remote_has_none() -> None:
    assert GitFacts(Path("/a"), "c0ffee").sdk_settings() == {"git_root": "/a", "git_commit": "c0ffee"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ("https://example.com/a", "https://example.com/a"),
        ("https://me:secret@example.com:8080/a", "https://me:@example.com:8080/a"),
        ("https://token@example.com/a", "https://example.com/a"),
        ("/a/directory", "/a/directory"),
    ],
)
def test_the_password_of_a_remote_is_left_out(url: str, shown: str) -> None:
    assert without_password(url) == shown
