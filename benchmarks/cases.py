"""The kinds of trials that several benchmarks run; see apps/task.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A kind of trial. logs: to W&B, else it only returns a number. heavy: it takes three seconds to import."""

    logs: bool
    heavy: bool

    @property
    def name(self) -> str:
        """As in tables."""
        return ("logs" if self.logs else "returns") + (" + 3 s import" if self.heavy else "")

    def environment(self, stamps: Path) -> Mapping[str, str]:
        """Return its variables. stamps: see apps/stamps.py."""
        return {
            "TRIAL": "task",
            "STAMPS": str(stamps),
            "TASK": "logs" if self.logs else "returns",
            "HEAVY": str(int(self.heavy)),
        }


CASES = [Case(logs, heavy) for heavy in (False, True) for logs in (True, False)]
