"""What W&B's SDK notes of where and by what a run is made: program, git, machine, packages.

The same for all trials of an agent, so it is gathered once. Names and forms are those of the SDK's
wandb-metadata.json and requirements.txt (wandb 0.31).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from ._git_facts import Ask, GitFacts, ask

_NVIDIA_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,uuid", "--format=csv,noheader,nounits")
_NAME_OR_VERSION = re.compile(r"^(Name|Version):[ \t]*(\S+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class RunFacts:
    """What is the same for all runs of a process.

    program: as W&B names it, "" if unknown. commit, remote: of the git repository of the working directory, None if
    there is none. wandb_version: of the SDK that is installed. metadata: the rest of wandb-metadata.json.
    """

    host: str
    program: str
    commit: str | None
    remote: str | None
    wandb_version: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def gather_facts(git: GitFacts | None, ask: Ask = ask, environ: Mapping[str, str] = os.environ) -> RunFacts:
    """Gather the facts of this process. git: None if nothing is known. environ: its environment."""
    git = git or GitFacts(None)
    root, commit, remote = git.root, git.commit, git.remote
    program = _program()
    metadata: dict[str, Any] = {
        "os": platform.platform(aliased=True),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "args": sys.argv[1:],
        "program": program or None,
        "codePath": _relative(program, root or Path.cwd()),
        "codePathLocal": _relative(program, Path.cwd()),
        "git": {"remote": remote, "commit": commit} if remote else {"commit": commit} if commit else None,
        "host": socket.gethostname(),
        "executable": sys.executable,
        **_machine(),
        **_gpus(ask),
        "slurm": _slurm(environ),
    }
    return RunFacts(
        host=socket.gethostname(),
        program=program,
        commit=commit,
        remote=remote,
        wandb_version=_name_and_version(importlib.metadata.distribution("wandb"))[1],
        metadata={name: value for name, value in metadata.items() if value not in (None, {}, [])},
    )


def disks() -> dict[str, Any]:
    """Return how full the disk is, in bytes, as texts: so W&B has it."""
    usage = shutil.disk_usage("/")
    return {"/": {"total": str(usage.total), "used": str(usage.used)}}


def _program() -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return f"-m {spec.name}" if spec is not None else str(getattr(main, "__file__", ""))


def _relative(program: str, root: Path) -> str | None:
    path = Path.cwd() / program
    if not program or not path.exists():
        return None
    relative = os.path.relpath(path, root)
    return None if relative.startswith("..") else relative


def _machine() -> dict[str, Any]:
    logical = os.cpu_count() or 1
    cores: set[tuple[str, str]] = set()
    model = ""
    try:
        blocks = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # not on Linux
        return {"cpu_count": logical, "cpu_count_logical": logical}
    for block in blocks:
        lines = dict(line.partition(":")[::2] for line in block.splitlines())
        about = {name.strip(): value.strip() for name, value in lines.items()}
        model = model or about.get("model name", "")
        if "core id" in about:
            cores.add((about.get("physical id", ""), about["core id"]))
    return {
        "cpu_count": len(cores) or logical,
        "cpu_count_logical": logical,
        "memory": {"total": str(pages * page_bytes)},
        "cpu": {"model": model} if model else None,
    }


def _gpus(ask: Ask) -> dict[str, Any]:
    if shutil.which(_NVIDIA_QUERY[0]) is None:
        return {}
    rows = [line.split(", ") for line in (ask(_NVIDIA_QUERY) or "").splitlines()]
    gpus = [
        {"name": row[0], "memoryTotal": str(int(row[1]) << 20), "uuid": row[2]}
        for row in rows
        if len(row) == 3 and row[1].isdigit()
    ]
    return {"gpu": gpus[0]["name"], "gpu_count": len(gpus), "gpu_nvidia": gpus} if gpus else {}


def _slurm(environ: Mapping[str, str]) -> dict[str, str]:
    prefix = "SLURM_"
    return {n.removeprefix(prefix).lower(): value for n, value in environ.items() if n.startswith(prefix)}


def list_packages(distributions: Iterable[Distribution] | None = None) -> str:
    """Return the text of requirements.txt: the packages that can be imported. Takes some 5 ms."""
    found = map(_name_and_version, importlib.metadata.distributions() if distributions is None else distributions)
    return "".join(f"{name}=={version}\n" for name, version in found if name)


def _name_and_version(package: Distribution) -> tuple[str | None, str]:
    """Without having all of its metadata parsed as the e-mail that they look like, descriptions and all."""
    text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    said: dict[str, str] = {}
    for name, value in _NAME_OR_VERSION.findall(text.partition("\n\n")[0]):
        said.setdefault(name, value)
    if len(said) == 2:
        return said["Name"], said["Version"]
    return package.metadata["Name"], package.version
