"""What is asked all the time costs the same however many runs there are: SQLite counts its steps, nobody times."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.filters import Condition
from wandb_sweep_server.listing import RunLists
from wandb_sweep_server.records import Agent, Run, Sweep
from wandb_sweep_server.run_states import FINISHED, PENDING

FEW, MANY = 100, 3_000


def steps_of(server: Server, work: Callable[[], object]) -> int:
    """How many hundreds of steps SQLite takes."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    connection = server.store.database._connection
    connection.set_progress_handler(step, 100)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 0)
    return count


class Grown:
    """A server whose sweep has many runs that have ended, or wait in the queue; and who asks. A second sweep has the
    20 oldest runs."""

    def __init__(self, directory: Path, count: int, columns: dict[str, Any]) -> None:
        directory.mkdir()
        self.server = Server(directory)
        self.sweep: Sweep = self.server.sweep({"a": {"values": list(range(10))}})
        self.small_sweep: Sweep = self.server.sweep()
        self.agent: Agent = self.server.agent(self.sweep)
        self.lists = RunLists(self.server.store.database, self.server.store.runs)
        self.server.do(lambda: self._fill(count, columns))

    def _fill(self, count: int, columns: dict[str, Any]) -> None:
        project = self.server.project_row()
        for _ in range(20):
            self.server.time.pass_s(1.0)
            self.server.store.runs.create(project, None, self.small_sweep.id, {"state": FINISHED})
        for number in range(count):
            self.server.time.pass_s(1.0)
            other = {"args": json.dumps({"a": {"value": number}}), "agent_id": self.agent.id, **columns}
            self.server.store.runs.create(project, None, self.sweep.id, other)

    def steps(self, work: Callable[[], object]) -> int:
        return steps_of(self.server, work)

    def page(self, scope: Condition, order: str | None = None) -> None:
        assert len(self.lists.page(scope, None, order, None, 20).items) == 20

    def page_by_name(self, sweep: Sweep, order: str | None = None) -> None:
        project, filters = self.server.project_row(), json.dumps({"$and": [{"sweep": sweep.name}]})
        assert len(self.lists.page_of_project(project, filters, order, None, 20).items) == 20


of_sweep, of_agent, of_project = (
    Condition(f"{column} = ?", (1,)) for column in ("sweep_id", "agent_id", "project_id")
)

QUESTIONS: dict[str, Callable[[Grown], object]] = {
    "a claim": lambda grown: grown.server.claim(grown.agent),
    "who is silent": lambda grown: grown.server.keep_house(),
    "the newest runs of a sweep": lambda grown: grown.page(of_sweep),
    "the oldest runs of a sweep": lambda grown: grown.page(of_sweep, order="+created_at"),
    "the newest runs of an agent": lambda grown: grown.page(of_agent),
    "the newest runs of a project": lambda grown: grown.page(of_project),
    "the oldest runs, by the sweep's name": lambda grown: grown.page_by_name(grown.sweep, "+created_at"),
    "the newest runs of another sweep, by its name": lambda grown: grown.page_by_name(grown.small_sweep),
    "the best runs of another sweep": lambda grown: grown.page_by_name(grown.small_sweep, "+summary_metrics.loss"),
    "how many runs another sweep has": lambda grown: grown.lists.count_of_project(
        grown.server.project_row(), json.dumps({"sweep": grown.small_sweep.name})
    ),
}


@pytest.mark.parametrize(
    "columns", [{"state": FINISHED}, {"state": PENDING, "queued_at": 1.0}], ids=["ended", "queued"]
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_takes_no_more_steps_with_thirty_times_the_runs(
    tmp_path: Path, question: str, columns: dict[str, Any]
) -> None:
    steps = []
    for count in (FEW, MANY):
        grown = Grown(tmp_path / str(count), count, columns)
        steps.append(grown.steps(lambda grown=grown: QUESTIONS[question](grown)))
        grown.server.store.close()
    few, many = steps
    assert many <= few + 5


HISTORIES: dict[str, Callable[[RunLists, Run], list[str]]] = {
    "a page in the middle": lambda lists, run: lists.history_lines(run, 500, 520),
    "the last page": lambda lists, run: lists.history_lines(run, run.history_lines - 20, None),
}


@pytest.mark.parametrize("read", HISTORIES.values(), ids=HISTORIES)
def test_a_page_of_history_takes_no_more_steps_with_thirty_times_the_lines(
    tmp_path: Path, read: Callable[[RunLists, Run], list[str]]
) -> None:
    steps = []
    for count in (1_000, 30_000):
        directory = tmp_path / str(count)
        directory.mkdir()
        server = Server(directory)
        run = server.start("r1")
        content = [json.dumps({"_step": step}) for step in range(count)]
        run = server.post(run.name, {"files": {"wandb-history.jsonl": {"offset": 0, "content": content}}})
        lists = RunLists(server.store.database, server.store.runs)
        assert len(read(lists, run)) == 20
        steps.append(steps_of(server, lambda lists=lists, run=run: read(lists, run)))
        server.store.close()
    few, many = steps
    assert many <= few + 5
