"""Copies of the code as it is at submission, and the note of which code that is."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._errors import SettingError
from hydra_plugins.hydra_wandb_sweeper._snapshot import CodeSnapshot, record_code, snapshot_code

WHO = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(*arguments: str, directory: Path | None = None) -> str:
    env = {**os.environ, **WHO, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=directory, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(project: Path) -> Path:
    """A git repository with a commit, which is the working directory."""
    git("init", "-q")
    Path("pkg").mkdir()
    Path("train.py").write_text("committed\n")
    Path("pkg/model.py").write_text("committed\n")
    Path("naïve name.bin").write_bytes(b"\0\1")
    Path(".gitignore").write_text("ignored.py\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    return project


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "sweep"
    (directory / ".sweep").mkdir(parents=True)
    return directory


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


# --- the copy ---


def test_the_copy_is_what_git_tracks_as_it_is_in_the_work_tree(repository: Path, sweep_dir: Path) -> None:
    Path("train.py").write_text("edited\n")
    Path("added.py").write_text("staged\n")
    git("add", "added.py")
    Path("pkg/model.py").unlink()
    Path("untracked.py").touch()
    Path("ignored.py").touch()
    copy = snapshot_code(sweep_dir).copy
    assert files(copy) == [".gitignore", "added.py", "naïve name.bin", "train.py"]
    assert (copy / "train.py").read_text() == "edited\n"
    Path("train.py").write_text("edited later\n")
    assert (copy / "train.py").read_text() == "edited\n"


def test_the_whole_repository_is_copied_from_a_directory_in_it(
    repository: Path, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("pkg")
    snapshot = snapshot_code(sweep_dir)
    assert snapshot.root == repository
    assert files(snapshot.copy) == [".gitignore", "naïve name.bin", "pkg/model.py", "train.py"]
    assert Path.cwd() == repository / "pkg"


def test_programs_stay_executable(repository: Path, sweep_dir: Path) -> None:
    Path("train.py").chmod(0o755)
    assert os.access(snapshot_code(sweep_dir).copy / "train.py", os.X_OK)


def test_links_within_the_repository_lead_to_the_copy_and_others_where_they_did(
    repository: Path, sweep_dir: Path
) -> None:
    (repository.parent / "data").mkdir()
    Path("model").symlink_to("pkg/model.py")
    Path("data").symlink_to("../data")
    git("add", "-A")
    copy = snapshot_code(sweep_dir).copy
    assert (copy / "model").resolve() == copy / "pkg" / "model.py"
    assert (copy / "data").resolve() == repository.parent / "data"


def test_modules_that_git_does_not_know_are_named(
    repository: Path, sweep_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("pkg/forgotten.py").touch()
    Path("ignored.py").touch()
    Path("notes.txt").touch()
    Path("multirun/0/.sweep/code").mkdir(parents=True)
    Path("multirun/0/.sweep/code/train.py").touch()
    with caplog.at_level(logging.WARNING):
        snapshot_code(sweep_dir)
    (record,) = caplog.records
    assert record.getMessage().endswith("since git doesn't track them: pkg/forgotten.py")


def test_nothing_is_said_if_git_knows_all_modules(
    repository: Path, sweep_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot_code(sweep_dir)
    assert not caplog.records


def test_without_a_repository_the_setting_is_refused(project: Path, sweep_dir: Path) -> None:
    with pytest.raises(SettingError, match=f"snapshot_code=True: needs a git repository around {project}"):
        snapshot_code(sweep_dir)


# --- sys.path in the copy ---


def test_directories_that_were_copied_are_replaced_and_no_others(tmp_path: Path) -> None:
    root, copy = tmp_path / "repo", tmp_path / "copy"
    for directory in (root / "src", root / ".venv" / "lib", copy / "src", tmp_path / "repo2"):
        directory.mkdir(parents=True)
    (tmp_path / "home").symlink_to(root)
    moved = CodeSnapshot(root, copy).moved
    assert moved(str(root)) == str(copy)
    assert moved(str(root / "src")) == str(copy / "src")
    assert moved(str(tmp_path / "home" / "src")) == str(copy / "src")
    # Not tracked by git; beside the repository; not there.
    for entry in (str(root / ".venv" / "lib"), str(tmp_path / "repo2"), str(tmp_path / "python311.zip")):
        assert moved(entry) == entry


# --- the note ---


def test_commit_and_difference_are_noted_so_that_the_code_can_be_had_again(
    repository: Path, sweep_dir: Path, tmp_path: Path
) -> None:
    # What users set for their terminals.
    for name, value in (("color.ui", "always"), ("diff.external", "false"), ("core.quotePath", "false")):
        git("config", name, value)
    Path("train.py").write_text("edited\n")
    Path("naïve name.bin").write_bytes(b"\0\2")
    Path("pkg/model.py").unlink()
    record_code(sweep_dir)
    commit = (sweep_dir / ".sweep" / "git_commit.txt").read_text().strip()
    assert commit == git("rev-parse", "HEAD").strip()
    again = tmp_path / "again"
    git("clone", "-q", str(repository), str(again))
    git("checkout", "-q", commit, directory=again)
    git("apply", str(sweep_dir / ".sweep" / "git_diff.patch"), directory=again)
    assert (again / "train.py").read_text() == "edited\n"
    assert (again / "naïve name.bin").read_bytes() == b"\0\2"
    assert not (again / "pkg" / "model.py").exists()


def test_no_difference_leaves_no_patch(repository: Path, sweep_dir: Path) -> None:
    record_code(sweep_dir)
    assert files(sweep_dir) == [".sweep/git_commit.txt"]


def test_a_project_without_git_has_no_note(project: Path, sweep_dir: Path) -> None:
    record_code(sweep_dir)
    assert files(sweep_dir) == []
