"""W&B's agent that calls a function, with the trial that sleeps. Argument: the sweep's id."""

from __future__ import annotations

import os
import sys

import wandb
from sleeping import evaluate

wandb.agent(sys.argv[1], function=lambda: evaluate(0.0), project=os.environ["WANDB_PROJECT"])
