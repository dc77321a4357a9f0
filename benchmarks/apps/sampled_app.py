"""The Hydra app around the trial, with samples of what its agent and its trials' processes do."""

from __future__ import annotations

import runpy
from pathlib import Path

import sampling

if __name__ == "__main__":
    sampling.start()
    # As a script: Hydra looks at where the task function is defined.
    runpy.run_path(str(Path(__file__).with_name("app.py")), run_name="__main__")
