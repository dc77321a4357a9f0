"""What runs record of git is what W&B's SDK would find out itself, without asking for each run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sweeper.conftest import Project
from tests.integration.sweeper.test_direct_runs import runs_of

APP = """
import hydra
import wandb


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    with wandb.init() as run:
        run.log({"loss": cfg.x})


if __name__ == "__main__":
    main()
"""
COMMIT = (["init", "-q"], ["add", "."], ["commit", "-qm", "all"])
REMOTE = ["remote", "add", "origin", "https://me:secret@example.com/a/b.git"]
REPOSITORIES: dict[str, tuple[list[str], ...]] = {
    "a repository": (*COMMIT, REMOTE),
    "one without a remote": COMMIT,
    "one without a commit": (["init", "-q"], REMOTE),
    "none": (),
}
# A setting that only the SDK obeys, in which case all are left to it.
LEFT_TO_SDK = {"WANDB_CONSOLE": "auto"}


@pytest.fixture
def logging_project(project: Project, tmp_path: Path) -> Project:
    """A project whose task opens its run itself, and whose git notes that it was asked."""
    (project.directory / "app.py").write_text(APP)
    shim = tmp_path / "shim" / "git"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho "$PPID $*" >> {tmp_path}/asked\nexec {shutil.which("git")} "$@"\n')
    shim.chmod(0o755)
    project.env["PATH"] = f"{shim.parent}:{project.env['PATH']}"
    return project


def git(project: Project, *arguments: str) -> None:
    """Have git do that in the project."""
    identity = ["-c", "user.email=a@b.c", "-c", "user.name=n"]
    subprocess.run(["git", *identity, *arguments], cwd=project.directory, env=project.env, check=True)


def recorded(run: dict[str, Any]) -> dict[str, Any] | None:
    """What a run has of git, and what depends on it; None if it was so short that W&B's service has left that out."""
    if run["metadata"] is None:
        return None
    metadata = {name: run["metadata"].get(name) for name in ("git", "codePath", "codePathLocal", "program")}
    return {
        **metadata,
        "commit": run["commit"],
        "files": sorted(run["files"]),
        **{name: run["details"][name] for name in ("repo", "commit", "program")},
    }


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_a_run_has_of_git_what_the_sdk_finds_out_itself(logging_project: Project, kind: str, tmp_path: Path) -> None:
    project = logging_project
    for command in REPOSITORIES[kind]:
        git(project, *command)
    found, asked = [], []
    for env in ({}, LEFT_TO_SDK):
        before = len((tmp_path / "asked").read_text().splitlines()) if (tmp_path / "asked").exists() else 0
        sweep = project.sweep("x=1,2,3,4,5", "hydra.sweeper.metric.name=loss", **env)
        found.append([seen for run in runs_of(project, sweep) if (seen := recorded(run))])
        asked.append(len((tmp_path / "asked").read_text().splitlines()) - before)
    ours, sdks = found
    assert len(ours) >= 3
    assert all(each == sdks[0] for each in ours + sdks)
    if kind == "a repository":
        assert ours[0]["git"]["remote"] == "https://me:@example.com/a/b.git"
    elif kind == "none":
        assert ours[0]["git"] is None
    if kind in ("a repository", "none"):
        assert asked[0] <= asked[1] - 5


def test_a_user_s_setting_of_git_is_obeyed(logging_project: Project) -> None:
    for command in REPOSITORIES["a repository"]:
        git(logging_project, *command)
    sweep = logging_project.sweep("x=1,2", "hydra.sweeper.metric.name=loss", WANDB_DISABLE_GIT="true")
    for run in runs_of(logging_project, sweep):
        assert (run["commit"], run["details"]["repo"]) == (None, None)
        assert "git" not in (run["metadata"] or {})
