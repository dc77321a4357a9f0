"""One row of a run's system metrics, as W&B's SDK takes it when a run begins (names and units: wandb 0.31)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEBI = 2**20


def sample(proc: Path = Path("/proc")) -> dict[str, float]:
    """Return what this process and its machine use, by W&B's names; nothing where the system doesn't tell (macOS).

    proc: where the kernel's files are.
    """
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        about = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        total, available = about["MemTotal"], about["MemAvailable"]
        own = int((proc / "self" / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        threads = sum(1 for _ in (proc / "self" / "task").iterdir())
        disk = shutil.disk_usage("/")
    except (OSError, ValueError, KeyError):
        return {}
    return {
        "system.memory_percent": 100 * (total - available) / total,
        "system.proc.memory.availableMB": available / _MEBI,
        "system.proc.memory.rssMB": own / _MEBI,
        "system.proc.memory.percent": 100 * own / total,
        "system.proc.cpu.threads": threads,
        "system.disk./.usagePercent": 100 * disk.used / disk.total,
        "system.disk./.usageGB": disk.used / 2**30,
    }
