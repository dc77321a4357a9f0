"""In which order a file gets to the disk: what a loss of power leaves is not for a test to provoke."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wandb_sweep_server.durable import PartialFile, make_directory, remove_partial_files, write_whole


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, in order."""
    seen: list[str] = []

    def noting(name: str, real: Callable[..., Any], path_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            seen.append(f"{name} {Path(path_of(*arguments)).name}")
            return real(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", noting("sync", os.fsync, lambda number: os.readlink(f"/proc/self/fd/{number}")))
    monkeypatch.setattr(os, "replace", noting("name", os.replace, lambda _, target: str(target)))
    return seen


def test_content_is_on_disk_before_it_has_its_name_and_the_name_before_it_is_answered(
    tmp_path: Path, steps: list[str]
) -> None:
    (tmp_path / "d").mkdir()
    write_whole(tmp_path / "d" / "f", b"x")
    part, *others = steps
    assert part.startswith("sync .")
    assert part.endswith(".part")
    assert others == ["name f", "sync d"]


def test_the_names_of_new_directories_are_on_disk_too(tmp_path: Path, steps: list[str]) -> None:
    make_directory(tmp_path / "a" / "b")
    assert sorted(steps) == sorted([f"sync {tmp_path.name}", "sync a"])
    make_directory(tmp_path / "a" / "b")
    assert len(steps) == 2


def test_a_content_that_finds_no_room_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_whole(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert path.read_bytes() == b"old"


def test_what_a_killed_process_left_unfinished_is_removed_and_nothing_else(tmp_path: Path) -> None:
    unfinished = PartialFile(tmp_path)
    for name in ("f", ".part", "x.part"):
        write_whole(tmp_path / name, b"y")
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part", "f", "x.part"]
    unfinished.discard()
