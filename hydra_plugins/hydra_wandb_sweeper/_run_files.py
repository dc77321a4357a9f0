"""What W&B's SDK puts into a run's config and files of its own accord, made without it (wandb 0.31's forms). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from ._run_facts import RunFacts

OUTPUT = "output.log"
REQUIREMENTS = "requirements.txt"
SUMMARY = "wandb-summary.json"
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Writer:
    """One process that writes a run. root: where it keeps its files. disks: how full they are."""

    id: str
    started_at: datetime
    root: str
    disks: Mapping[str, Any]


def metadata(facts: RunFacts, writer: Writer) -> dict[str, Any]:
    """Return the content of wandb-metadata.json."""
    return {
        **facts.metadata,
        "startedAt": writer.started_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "root": writer.root,
        "disk": dict(writer.disks),
        "writerId": writer.id,
    }


def own_config(facts: RunFacts, writer: Writer) -> dict[str, Any]:
    """Return the run config's `_wandb`. That it has `t` tells the SDK that the run has been begun."""
    python = str(facts.metadata["python"]).split()[-1]
    return {
        "python_version": python,
        "cli_version": facts.wandb_version,
        "m": [],
        "e": {writer.id: metadata(facts, writer)},
        "t": {"4": python, "5": facts.wandb_version, "12": facts.wandb_version},
    }


def config_yaml(config: Mapping[str, Any]) -> str:
    """Return the content of config.yaml."""
    values = {name: {"value": value} for name, value in config.items()}
    return str(yaml.dump(values, Dumper=_Dumper, indent=4, allow_unicode=True))


def contents(
    facts: RunFacts, packages: str, writer: Writer, config: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, str]:
    """Return the text of every file but output.log. packages: from list_packages."""
    return {
        "wandb-metadata.json": json.dumps(metadata(facts, writer), indent=2),
        REQUIREMENTS: packages,
        "config.yaml": config_yaml(config),
        SUMMARY: json.dumps(summary),
    }


@dataclass(frozen=True)
class Ending:
    """How a task has ended. runtime_s: from the run's beginning, all attempts together."""

    metrics: Mapping[str, float]
    error: str | None
    timestamp: float
    runtime_s: float


def history_line(ending: Ending, logged: Mapping[str, Any], step: int) -> dict[str, Any] | None:
    """Return the history's line of what the task returned, None if nothing is new. logged: the summary so far."""
    new = {name: value for name, value in ending.metrics.items() if name not in logged}
    if not new:
        return None
    return {**new, "_step": step, "_timestamp": ending.timestamp, "_runtime": ending.runtime_s}


def last_summary(ending: Ending, logged: Mapping[str, Any], line: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the run's summary at its end. logged: the summary so far. line: the history's last one, if it is new."""
    summary = {name: value for name, value in logged.items() if name != "trial_error"} | dict(line or {})
    summary |= ending.metrics
    if ending.error is not None:
        summary["trial_error"] = ending.error
    runtime = int(ending.runtime_s)
    return {**summary, "_runtime": runtime, "_wandb": {"runtime": runtime}}
