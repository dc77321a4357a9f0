"""The rows of the database as values."""

from __future__ import annotations

import base64
import binascii
import sqlite3
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Project:
    """A namespace of sweeps and runs."""

    id: int
    entity: str
    name: str
    created_at: float


@dataclass(frozen=True)
class Sweep:
    """A sweep; `config_digest` tells one configuration from another, `name` is the short id that users see."""

    id: int
    project_id: int
    name: str
    config_digest: str
    method: str
    state: str
    seed: int
    next_trial: int
    run_count: int
    display_name: str | None
    description: str | None
    controller: str | None
    scheduler: str | None
    controller_run_name: str
    created_at: float
    updated_at: float


@dataclass(frozen=True)
class Agent:
    """A process that claims trials; `listed` is a JSON list of run names."""

    id: int
    sweep_id: int
    name: str
    host: str
    label: str | None
    job: str | None
    listed: str
    run_count: int
    created_at: float
    heartbeat_at: float
    ended_at: float | None
    ended: str | None


@dataclass(frozen=True)
class Run:
    """A run; `config`, `summary`, `args` and `tags` are JSON text."""

    id: int
    project_id: int
    name: str
    sweep_id: int | None
    agent_id: int | None
    state: str
    stop_requested: int
    stop_reason: str | None
    exit_code: int | None
    args: str | None
    queued_at: float | None
    is_retry: int
    losses: int
    preempted_by: str | None
    display_name: str | None
    description: str | None
    notes: str | None
    group_name: str | None
    job_type: str | None
    host: str | None
    program: str | None
    repo: str | None
    commit_hash: str | None
    tags: str
    config: str
    summary: str
    history_lines: int
    steps_ascend: int
    events_lines: int
    log_lines: int
    created_at: float
    heartbeat_at: float


@dataclass(frozen=True)
class RunFile:
    """A file of a run; `size_bytes` is None until something was uploaded."""

    id: int
    run_id: int
    name: str
    token: str
    size_bytes: int | None
    updated_at: float


def record(kind: type[T], row: sqlite3.Row | None) -> T | None:
    """The row as a value of that kind; None stays None."""
    return None if row is None else kind(**dict(row))


def global_id(kind: str, row_id: int) -> str:
    """An opaque id as W&B's are: base64 of `Kind:number`."""
    return base64.b64encode(f"{kind}:{row_id}".encode()).decode()


def row_id_of(kind: str, text: str) -> int | None:
    """The number inside such an id, or None if it isn't one of that kind."""
    try:
        found, _, number = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return int(number) if found == kind and number.isascii() and number.isdigit() else None
