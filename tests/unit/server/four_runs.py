"""Four runs with a little of everything that filters and orders can meet."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.server.support import Server
from wandb_sweep_server.filters import ALWAYS
from wandb_sweep_server.listing import RunLists
from wandb_sweep_server.records import Project

NAN = float("nan")
PROJECT = Project(1, "local", "p", 0.0)
RUNS: dict[str, dict[str, Any]] = {
    "r1": {
        "config": {"lr": 0.1, "opt": "adam", "flag": True, "net": {"depth": 2}, "a.b": "flat", "l": [1, 2]},
        "summary": {"loss": 3, "acc": 0.5, "val": {"loss": 7}},
        "tags": ["base", "x"],
        "host": "node1",
    },
    "r2": {
        "config": {"lr": 1, "opt": "sgd", "flag": False, "net": {"depth": 5}, "a": {"b": "deep"}, "n": None},
        "summary": {"loss": 1.5, "acc": NAN},
        "tags": ["x", "it's"],
        "host": "node2",
        "group_name": "g",
    },
    "r3": {
        "config": {"lr": "1", "opt": "Adam %_x"},
        "summary": {"loss": float("inf"), "acc": float("-inf")},
        "display_name": "nice",
        "notes": "hm",
    },
    "r4": {"tags": ["y"]},
}


def store_runs(server: Server) -> RunLists:
    """The runs above; the first two belong to a sweep and have ended."""
    sweep = server.sweep()
    for name, fields in RUNS.items():
        config = {key: {"value": value} for key, value in fields.get("config", {}).items()}
        server.start(name, sweep if name in ("r1", "r2") else None, **{**fields, "config": config})
        server.time.pass_s(60)
    server.exit("r1")
    server.exit("r2", 1)
    server.store.database.execute("UPDATE sweeps SET name = 'sweep1'")
    return RunLists(server.store.database, server.store.runs)


def names(lists: RunLists, filters: Any = None, order: str = "+name") -> list[str]:
    text = None if filters is None else json.dumps(filters)
    page = lists.page(ALWAYS, text, order, None, None)
    assert lists.count(ALWAYS, text) == len(page.items)
    # They all are of one project.
    assert lists.page_of_project(PROJECT, text, order, None, None) == page
    assert lists.count_of_project(PROJECT, text) == len(page.items)
    return [run.name for run in page.items]
