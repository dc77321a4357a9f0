"""What was submitted is what runs: copies of the config directories, and of the code on request, as they were.

Jobs may wait in a queue for days while their user goes on editing. The copies are in the sweep directory.
"""

from __future__ import annotations

import copy
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.types import HydraContext

from ._errors import SettingError
from ._ledger import DIRECTORY

log = logging.getLogger(__name__)

_GIT_TIMEOUT_S = 30.0
# Python files, but for those of earlier sweeps' own snapshots.
_MODULES = ("--", "*.py", f":(exclude,glob)**/{DIRECTORY}/**")
_FEW = 5


def snapshot_configs(context: HydraContext, directory: Path) -> HydraContext:
    """Copy the config files on Hydra's search path, and return a context that composes from the copies.

    directory: the sweep directory. Directories that a config names in hydra.searchpath stay where they are, since
    Hydra looks that up anew at every composition; so do configs inside Python packages (pkg://).
    """
    copies: dict[str, str] = {}
    # Its own copy: the user's process goes on with the files themselves.
    loader = copy.deepcopy(context.config_loader)
    for source in loader.get_sources():
        if source.scheme() != "file" or not os.path.isdir(source.path):
            continue
        if source.path not in copies:
            target = directory / DIRECTORY / "conf" / f"{len(copies)}-{Path(source.path).name}"
            _copy_yaml(Path(source.path), target)
            copies[source.path] = str(target)
        source.path = copies[source.path]
    for element in loader.get_search_path().get_path():
        path = (element.path or "").removeprefix("file://")
        if path in copies:
            element.path = f"file://{copies[path]}"
    return HydraContext(config_loader=loader, callbacks=context.callbacks)


def _copy_yaml(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in _yaml_files(source):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def _yaml_files(root: Path) -> Iterator[Path]:
    """All that Hydra could load from a config directory; it may be the whole project, with data and results in it."""
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        yield from (Path(folder, name) for name in names if name.endswith((".yaml", ".yml")))


@dataclass(frozen=True)
class CodeSnapshot:
    """root: the git repository that was copied, without symbolic links. copy: where to."""

    root: Path
    copy: Path

    def moved(self, entry: str) -> str:
        """Return an entry of sys.path as it is in the copy; those that aren't there (.venv, say) stay."""
        path = Path(entry).resolve()  # git's root is without links, the way to a home directory often isn't
        if not path.is_relative_to(self.root):
            return entry
        moved = self.copy / path.relative_to(self.root)
        return str(moved) if moved.exists() else entry


def snapshot_code(directory: Path) -> CodeSnapshot:
    """Copy the files that git tracks, submodules' too, as they are in the work tree. directory: the sweep directory.

    Not with submitit's RsyncSnapshot, which fails where a tracked file was deleted or has a letter beyond ASCII in
    its name. Errors: SettingError if there is no git repository.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None:
        raise SettingError("snapshot_code", True, f"needs a git repository around {Path.cwd()}")
    snapshot = CodeSnapshot(Path(top.rstrip("\n")).resolve(), directory / DIRECTORY / "code")
    for name in _git_files(snapshot.root, "--recurse-submodules"):
        _copy_tracked(snapshot.root / name, snapshot.copy / name, snapshot.root)
    if untracked := _git_files(snapshot.root, "--others", "--exclude-standard", *_MODULES):
        # Else the first that is heard of it is a job's ModuleNotFoundError.
        names = ", ".join(untracked[:_FEW]) + (", …" if len(untracked) > _FEW else "")
        log.warning("hydra.sweeper.snapshot_code=true: not copied, since git doesn't track them: %s", names)
    return snapshot


def _git_files(root: Path, *arguments: str) -> list[str]:
    listed = _git("-C", str(root), "ls-files", "-z", *arguments) or ""
    return sorted(set(filter(None, listed.split("\0"))))


def _copy_tracked(source: Path, target: Path, root: Path) -> None:
    if not source.is_symlink() and not source.is_file():
        return  # deleted, or a submodule that was never fetched
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_symlink():
        shutil.copy2(source, target)
    elif source.resolve().is_relative_to(root):
        target.symlink_to(os.readlink(source))
    else:
        # Data and the like: from within the copy, a relative link would lead elsewhere.
        target.symlink_to(source.resolve())


def record_code(directory: Path) -> None:
    """Note the git commit and what differs from it, if the project is in git. directory: the sweep directory."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return
    (directory / DIRECTORY / "git_commit.txt").write_text(commit, encoding="utf-8")
    # One that `git apply` understands, whatever the user's configuration makes of diffs on a terminal.
    diff = _git("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
    if diff:
        (directory / DIRECTORY / "git_diff.patch").write_text(diff, encoding="utf-8", errors="surrogateescape")


def _git(*arguments: str, environ: Mapping[str, str] = os.environ) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            env={**environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("git %s: %s", arguments[0], error)
        return None
    text = done.stdout.decode(errors="surrogateescape")
    return text if done.returncode == 0 else None


def current_sys_path(snapshot: CodeSnapshot | None) -> tuple[str, ...]:
    """Return sys.path for jobs, as absolute directories."""
    entries = [entry or os.getcwd() for entry in sys.path]
    return tuple(snapshot.moved(entry) if snapshot else entry for entry in entries)
