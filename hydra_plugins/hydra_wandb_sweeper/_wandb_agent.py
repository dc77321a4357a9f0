"""Runs one trial for W&B's own agent: `wandb agent ENTITY/PROJECT/ID`, in the user's directory.

A sweep made by this plugin names this module in its `command`. W&B's agent hands it the claimed values in a JSON
file; they become the very overrides that this plugin's agents would use (W&B's `${args_no_hyphens}` can't say lists,
null or strings with commas). The user's app then runs as an ordinary Hydra app, with a callback that opens the W&B
run and records what the task returns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ._template import Template
from ._values import render

_CALLBACK = "hydra_plugins.hydra_wandb_sweeper._wandb_agent_callback.RunCallback"


def command_line(arguments: Sequence[str], run_id: str, sweep_id: str) -> list[str]:
    """Return the command line of the user's app for one trial.

    arguments: what the sweep's `command` says after this module's name. Errors: SweepError for a template of another
    version, OSError or ValueError if W&B's file of values can't be read.
    """
    given = _parser().parse_args(arguments)
    args = json.loads(Path(given.args_file).read_text(encoding="utf-8"))
    overrides = Template.from_json(given.template).overrides(args)
    flags = [
        f"--{name}={value}"
        for name in ("config-path", "config-dir", "config-name")
        if (value := getattr(given, name.replace("-", "_"))) is not None
    ]
    own = [
        f"+hydra.callbacks.hydra_wandb_sweeper._target_={_CALLBACK}",
        f"+hydra.callbacks.hydra_wandb_sweeper.metric_name={render(given.metric)}",
        f"hydra.run.dir=outputs/wandb/{sweep_id}/{run_id}",
    ]
    app = ["-m", given.module] if given.module else [given.program]
    return [sys.executable, *app, *flags, *json.loads(given.hydra), *own, *overrides]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--template", required=True)
    parser.add_argument("--hydra", default="[]")
    parser.add_argument("--module")
    parser.add_argument("--config-path")
    parser.add_argument("--config-dir")
    parser.add_argument("--config-name")
    parser.add_argument("--metric", required=True)
    parser.add_argument("--seed", help="read by the embedded server")
    parser.add_argument("--shuffle", action="store_true", help="read by the embedded server")
    parser.add_argument("program")
    parser.add_argument("args_file")
    return parser


def main() -> None:
    """Become the user's app."""
    command = command_line(sys.argv[1:], os.environ["WANDB_RUN_ID"], os.environ["WANDB_SWEEP_ID"])
    # W&B's agent gives it relative to this directory, and the app may change directory (hydra.job.chdir).
    os.environ["WANDB_SWEEP_PARAM_PATH"] = os.path.abspath(os.environ["WANDB_SWEEP_PARAM_PATH"])
    # exec, not a child: W&B's agent signals this process when the run shall stop.
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
