"""What was submitted is what runs: copies of the config directories, and of the code on request, as they were.

Jobs may wait in a queue for days while their user goes on editing. The copies are in the sweep directory.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.types import HydraContext
from omegaconf import DictConfig

from ._errors import SettingError
from ._events import DIRECTORY
from ._git_facts import may_be_in_repository
from ._pickling import copied
from ._values import render

log = logging.getLogger(__name__)

_GIT_TIMEOUT_S = 30.0
# Python files, but for those of earlier sweeps' own snapshots.
_MODULES = ("--", "*.py", f":(exclude,glob)**/{DIRECTORY}/**")
_FEW = 5


def snapshot_configs(context: HydraContext, config: DictConfig, directory: Path) -> tuple[HydraContext, DictConfig]:
    """Copy the config files on Hydra's search path; return context and config with which trials compose from them.

    directory: the sweep directory. Configs inside Python packages (pkg://) stay where they are.
    """
    # Its own copy: the user's process goes on with the files themselves.
    loader = copied(context.config_loader)
    sources = [source for source in loader.get_sources() if source.scheme() == "file"]
    # Loaders don't keep these among their sources.
    named = [path.removeprefix("file://") for path in config.hydra.searchpath]
    copies = _copy_directories([*(source.path for source in sources), *named], directory / DIRECTORY / "conf")
    for source in sources:
        source.path = copies.get(source.path, source.path)
    for element in loader.get_search_path().get_path():
        element.path = _copied(element.path or "", copies)
    return HydraContext(config_loader=loader, callbacks=context.callbacks), _searching(config, copies)


def _searching(config: DictConfig, copies: Mapping[str, str]) -> DictConfig:
    """Return the config with hydra.searchpath leading to the copies.

    Hydra reads that setting anew at every composition, from the primary config unless an override says otherwise.
    """
    before = list(config.hydra.searchpath)
    after = [_copied(path, copies) for path in before]
    if after == before:
        return config
    changed = copied(config)
    # Hydra takes the first such override for the search, but the last for the value.
    others = [o for o in config.hydra.overrides.hydra if o.partition("=")[0] != "hydra.searchpath"]
    changed.hydra.overrides.hydra = [*others, f"hydra.searchpath={render(after)}"]
    return changed


def _copied(path: str, copies: Mapping[str, str]) -> str:
    """Return the copy of an element of a search path, or that itself if it wasn't copied."""
    copied = copies.get(path.removeprefix("file://"))
    return path if copied is None else f"file://{copied}"


def _copy_directories(paths: Iterable[str], target: Path) -> dict[str, str]:
    """Copy those of the paths that are directories; returns where each one's copy is."""
    copies: dict[str, str] = {}
    for path in paths:
        if path not in copies and os.path.isdir(path):
            copies[path] = str(target / f"{len(copies)}-{Path(path).name}")
            _copy_yaml(Path(path), Path(copies[path]))
    return copies


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
        raise SettingError(
            "snapshot_code",
            True,
            f"needs a git repository around {Path.cwd()}; leave it out, or run `git init` and commit",
        )
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
    commit = _git("rev-parse", "HEAD") if may_be_in_repository(Path.cwd()) else None
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
