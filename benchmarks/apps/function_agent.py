"""W&B's agent that calls a trial: $TRIAL is the module that has it. Argument: the sweep's id."""

from __future__ import annotations

import importlib
import os
import sys

# That agent opens no run itself: a task that only returns a number is no sweep for it.
import wandb

evaluate = importlib.import_module(os.environ["TRIAL"]).evaluate
wandb.agent(sys.argv[1], function=lambda: evaluate(0.0), project=os.environ["WANDB_PROJECT"])
