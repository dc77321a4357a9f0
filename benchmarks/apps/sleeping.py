"""A trial that sleeps: how long its agent has it, and how much of that is the sleep, is noted in $MARKS.

$SECONDS: of sleep. $TASK: `logs` opens a W&B run around it and logs a value, `returns` does not.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

LOGS = os.environ["TASK"] == "logs"
if LOGS:
    import wandb


def evaluate(x: float) -> float:
    """One trial. Notes its times by the clock that all processes of a machine share."""
    begin_s = time.monotonic()
    if LOGS:
        with wandb.init() as run:
            sleep_s = _sleep()
            run.log({"loss": x})
    else:
        sleep_s = _sleep()
    mark = {"begin_s": begin_s, "end_s": time.monotonic(), "sleep_s": sleep_s}
    with Path(os.environ["MARKS"]).open("a", encoding="ascii") as file:
        file.write(json.dumps(mark) + "\n")
    return x


def _sleep() -> float:
    started_s = time.monotonic()
    time.sleep(float(os.environ["SECONDS"]))
    return time.monotonic() - started_s
