"""Agents side by side in one job: each has an even share of the job's GPUs and CPUs, and so have its trials."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

_Item = TypeVar("_Item")

# What SLURM lists a job's GPUs in, by their makers. Of each group only the first that is set is divided: HIP reads
# CUDA_VISIBLE_DEVICES as places in what ROCR_VISIBLE_DEVICES left over, so that both would divide twice.
_GPU_VARIABLES = (("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"), ("ZE_AFFINITY_MASK",))
# How these say that there is none; the last is SLURM's.
_NO_GPU = ("", "-1", "NoDevFiles")
_TOPOLOGY = Path("/sys/devices/system/cpu")


def split(items: Sequence[_Item], parts: int) -> list[tuple[_Item, ...]]:
    """Return `parts` pieces of items, in order; their sizes differ by one at most."""
    ends = [len(items) * part // parts for part in range(parts + 1)]
    return [tuple(items[begin:end]) for begin, end in pairwise(ends)]


@dataclass(frozen=True)
class Share:
    """What one agent of a job gets. environ: variables that name its GPUs. cpus: None is all of the job's.

    text: the same for people.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    cpus: tuple[int, ...] | None = None
    text: str = ""

    def take(self) -> None:
        """Have this process, and those that it starts from now on, use nothing else."""
        os.environ.update(self.environ)
        if self.cpus is not None:
            os.sched_setaffinity(0, self.cpus)


def share_of(agent: int, agents: int, environ: Mapping[str, str], cpus: Sequence[int]) -> Share:
    """Return what agent number `agent` of `agents` gets. environ, cpus: the job's; no CPUs if they aren't known."""
    gpus: dict[str, str] = {}
    texts = []
    for group in _GPU_VARIABLES:
        name = next((name for name in group if name in environ), None)
        if name is None or environ[name] in _NO_GPU:
            continue
        entries = environ[name].split(",")
        is_enough = len(entries) >= agents
        own = split(entries, agents)[agent] if is_enough else (entries[agent % len(entries)],)
        gpus[name] = ",".join(own)
        shared = "" if is_enough else f", shared: {len(entries)} for {agents} agents"
        texts.append(f"GPUs {gpus[name]} ({name}{shared})")
    if not cpus:
        return Share(gpus, None, ", ".join(texts))
    if len(cpus) < agents:
        return Share(gpus, None, ", ".join([*texts, f"all CPUs of the job (only {len(cpus)} for {agents} agents)"]))
    own_cpus = split(cpus, agents)[agent]
    return Share(gpus, own_cpus, ", ".join([*texts, f"CPUs {_ranges(own_cpus)}"]))


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may use, see by_core; none where the system doesn't say."""
    return by_core(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def by_core(cpus: Iterable[int], topology: Path = _TOPOLOGY) -> list[int]:
    """Sort CPUs so that those of a core, and cores of a socket, are beside one another.

    With hyperthreading the two CPUs of a core often have numbers far apart (0 and 64): divided by number, each core
    would be shared by two agents.
    """
    return sorted(cpus, key=lambda cpu: (*_place(topology / f"cpu{cpu}" / "topology", cpu), cpu))


def _place(topology: Path, cpu: int) -> tuple[int, int]:
    """Socket, and the core by its lowest CPU."""
    try:
        siblings = (topology / "thread_siblings_list").read_text()
        return int((topology / "physical_package_id").read_text()), int(siblings.replace("-", ",").split(",")[0])
    except (OSError, ValueError):
        return 0, cpu


def _ranges(numbers: Iterable[int]) -> str:
    """Write numbers as taskset does: 0,4-7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
