"""Bayesian sweeps in the store: what runs tell, what a restart keeps, and how agents come to their trials."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.clock import Clock
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.observations import MOST_SWEEPS
from wandb_sweep_server.records import Agent, Sweep, global_id
from wandb_sweep_server.runs import RunFields
from wandb_sweep_server.search.bayes import BayesSearch, Problem, Seen, is_installed
from wandb_sweep_server.suggestions import Suggester
from wandb_sweep_server.sweeps import SweepChange, Sweeps

PLANE = {"x": {"min": 0.0, "max": 1.0}, "k": {"value": 3}}
METRIC = {"name": "loss"}


def args(x: float) -> dict[str, Any]:
    return {"x": {"value": x}, "k": {"value": 3}}


def bayes(server: Server, **more: Any) -> Sweep:
    return server.sweep(PLANE, method="bayes", **{"metric": METRIC, **more})


def search_of(server: Server, sweep: Sweep) -> BayesSearch:
    search = server.store.sweeps.config(server.sweep_now(sweep)).search
    assert isinstance(search, BayesSearch)
    return search


def ready(server: Server, sweep: Sweep, *xs: float) -> None:
    """Have trials chosen, at the given places."""

    def put() -> None:
        order = server.store.suggestions.order(sweep.id, len(xs))
        assert order is not None
        server.store.suggestions.put(order, [args(x) for x in xs])

    server.do(put)


def claim(server: Server, sweep: Sweep, agent: Agent, x: float) -> str:
    ready(server, sweep, x)
    return server.claim(agent)


def seen(server: Server, sweep: Sweep) -> list[Seen]:
    order = server.do(lambda: server.store.suggestions.order(sweep.id, 1))
    assert order is not None
    return list(order.problem.seen)


# --- what runs tell ---


def test_a_trial_is_known_from_its_claim_to_its_end(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    assert seen(server, sweep) == []
    name = claim(server, sweep, agent, 0.25)
    assert seen(server, sweep) == [Seen((0.25,), None, is_running=True)]
    server.start(name, sweep)
    server.post(name, {"files": {"wandb-summary.json": {"offset": 0, "content": ['{"loss": 7}']}}})
    assert seen(server, sweep) == [Seen((0.25,), None, is_running=True)]
    server.post(
        name,
        {"files": {"wandb-summary.json": {"offset": 0, "content": ['{"loss": 5}']}}, "complete": True, "exitcode": 0},
    )
    assert seen(server, sweep) == [Seen((0.25,), (5.0,), is_running=False)]


def finish(server: Server, name: str, summary: str, code: int = 0) -> None:
    server.start(name)
    server.post(
        name,
        {"files": {"wandb-summary.json": {"offset": 0, "content": [summary]}}, "complete": True, "exitcode": code},
    )


@pytest.mark.parametrize(
    ("summary", "code", "values"),
    [
        ('{"loss": 2}', 0, (2.0,)),
        ('{"loss": 2}', 1, None),
        ('{"loss": NaN}', 0, None),
        ('{"loss": -Infinity}', 0, None),
        ('{"other": 1}', 0, None),
    ],
)
def test_a_run_that_failed_or_has_no_finite_metric_has_no_values(
    server: Server, summary: str, code: int, values: tuple[float, ...] | None
) -> None:
    sweep = bayes(server)
    finish(server, claim(server, sweep, server.agent(sweep), 0.5), summary, code)
    assert seen(server, sweep) == [Seen((0.5,), values, is_running=False)]


def test_a_run_that_was_lost_and_waits_to_go_on_counts_as_running(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    name = claim(server, sweep, agent, 0.5)
    server.start(name, sweep)
    server.heartbeat(agent, name)
    server.time.pass_s(server.limits.crash_timeout_s + 1)
    server.keep_house()
    assert (server.run(name).state, server.run(name).queued_at is None) == ("crashed", False)
    assert seen(server, sweep) == [Seen((0.5,), None, is_running=True)]


def test_a_run_that_is_deleted_is_forgotten(server: Server) -> None:
    sweep = bayes(server)
    name = claim(server, sweep, server.agent(sweep), 0.5)
    assert len(seen(server, sweep)) == 1
    server.do(lambda: server.store.database.execute("DELETE FROM runs WHERE name = ?", (name,)))
    assert seen(server, sweep) == []


def test_runs_that_a_scheduler_or_a_user_enqueued_count_and_those_of_other_spaces_do_not(server: Server) -> None:
    sweep = bayes(server)
    project = server.project()
    for enqueued in (args(0.75), {"x": {"value": "elsewhere"}}, {}):
        server.do(lambda chosen=enqueued: server.store.agents.enqueue(sweep, project, chosen, None))
    assert seen(server, sweep) == [Seen((0.75,), None, is_running=True)]


def test_a_change_of_the_metric_has_all_runs_read_again(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    for x in (0.25, 0.5):
        finish(server, claim(server, sweep, agent, x), f'{{"loss": 1, "acc": {x}}}')
    assert [item.values for item in seen(server, sweep)] == [(1.0,), (1.0,)]
    config = server.config_text(sweep).replace('"name": "loss"', '"name": "acc", "goal": "maximize"')
    server.do(lambda: server.store.sweeps.change(server.sweep_now(sweep), SweepChange(config=config)))
    assert [item.values for item in seen(server, sweep)] == [(-0.25,), (-0.5,)]


def test_to_ask_again_reads_only_the_runs_that_changed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    names = []
    for i in range(20):
        names.append(claim(server, sweep, agent, i / 32))
        finish(server, names[-1], '{"loss": 1}')
    search = search_of(server, sweep)
    read: list[dict[str, Any]] = []
    point_of = search.point_of
    monkeypatch.setattr(search, "point_of", lambda args: read.append(args) or point_of(args))
    seen(server, sweep)  # the last one had yet to be read
    assert read == [args(19 / 32)]
    seen(server, sweep)
    server.do(lambda: server.store.runs.edit(server.run(names[4]), _summary(0.5)))
    assert seen(server, sweep)[4].values == (0.5,)
    assert read == [args(19 / 32), args(4 / 32)]


def _summary(loss: float) -> RunFields:
    return RunFields(summary={"loss": loss})


def test_what_was_read_of_a_change_that_is_undone_is_read_again(server: Server) -> None:
    """A commit that fails undoes what many requests did, some of which had asked for trials meanwhile."""
    sweep = bayes(server)
    name = claim(server, sweep, server.agent(sweep), 0.5)
    finish(server, name, '{"loss": 1}')

    def change_ask_and_fail() -> None:
        server.store.runs.edit(server.run(name), _summary(9))
        order = server.store.suggestions.order(sweep.id, 1)
        assert order is not None
        assert order.problem.seen[0].values == (9.0,)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.do(change_ask_and_fail)
    assert seen(server, sweep)[0].values == (1.0,)


def test_an_undone_change_is_not_seen(server: Server) -> None:
    sweep = bayes(server)
    name = claim(server, sweep, server.agent(sweep), 0.5)
    finish(server, name, '{"loss": 1}')
    before = seen(server, sweep)

    def fail() -> None:
        server.store.runs.edit(server.run(name), _summary(9))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.do(fail)
    assert seen(server, sweep) == before


def test_what_is_known_of_an_ended_sweep_is_given_back_and_read_again_if_it_is_reopened(server: Server) -> None:
    sweeps = [bayes(server), bayes(server)]
    for sweep in sweeps:
        finish(server, claim(server, sweep, server.agent(sweep), 0.5), '{"loss": 1}')
    before = [seen(server, sweep) for sweep in sweeps]
    ready(server, sweeps[0], 0.75)
    server.set_sweep(sweeps[0], "PAUSED")
    assert is_kept(server, sweeps) == [True, True]
    server.set_sweep(sweeps[0], "STOPPED")
    assert is_kept(server, sweeps) == [False, True]
    server.set_sweep(sweeps[0], "RUNNING")
    assert [seen(server, sweep) for sweep in sweeps] == before


def is_kept(server: Server, sweeps: list[Sweep]) -> list[bool]:
    """Whether the runs of each sweep are in memory after housekeeping."""
    server.do(lambda: server.store.keep_house(5.0))
    return [sweep.id in server.store.observations.sweep_ids() for sweep in sweeps]


def test_of_many_open_sweeps_only_those_in_use_have_their_runs_in_memory(server: Server) -> None:
    server.project()
    sweeps = [bayes(server) for _ in range(MOST_SWEEPS + 1)]
    finish(server, claim(server, sweeps[0], server.agent(sweeps[0]), 0.5), '{"loss": 1}')
    before = seen(server, sweeps[0])
    for sweep in sweeps[1:]:
        seen(server, sweep)
    assert is_kept(server, sweeps) == [False] + [True] * MOST_SWEEPS
    assert seen(server, sweeps[0]) == before


# --- restarts and the search's next trial ---


def test_a_restart_asks_for_the_same_trial_with_the_same_knowledge(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    outcomes = [("finish", 0), ("fail", 1), (None, 0), ("finish", 0), (None, 0)]
    for number, (end, code) in enumerate(outcomes):
        name = claim(server, sweep, agent if end else server.agent(sweep), number / 8)
        if end:
            finish(server, name, f'{{"loss": {number}}}', code)
    ready(server, sweep, 0.9)  # chosen and never handed out: nobody knows of it afterwards
    before = server.do(lambda: server.store.suggestions.order(sweep.id, 1))
    server.reopen()
    after = server.do(lambda: server.store.suggestions.order(sweep.id, 1))
    assert before is not None
    assert after is not None
    assert list(after.problem.seen) == list(before.problem.seen)[:-1]
    assert after.problem.first == before.problem.first - 1 == len(outcomes)
    assert after.problem.search.seed == before.problem.search.seed


def test_a_claim_that_is_undone_hands_nothing_out_and_its_trial_is_the_next_ones(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    ready(server, sweep, 0.5)

    def claim_and_fail() -> None:
        assert len(server.store.agents.heartbeat(global_id("Agent", agent.id), "{}")) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.do(claim_and_fail)
    assert server.runs() == []
    assert [item.is_running for item in seen(server, sweep)] == [True]  # as chosen, not as claimed
    (command,) = server.heartbeat(agent)
    assert command["args"] == args(0.5)


def test_a_trial_that_is_yet_to_be_chosen_is_said_to_be_awaited_by_idle_agents_of_open_sweeps_only(
    server: Server,
) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    awaited: list[Sweep] = []

    def heartbeat(state: str = "{}") -> list[dict[str, Any]]:
        awaited.clear()
        return server.do(lambda: server.store.agents.heartbeat(global_id("Agent", agent.id), state, awaited.append))

    assert heartbeat() == []
    assert [item.id for item in awaited] == [sweep.id]
    server.set_sweep(sweep, "PAUSED")
    assert (heartbeat(), awaited) == ([], [])
    server.set_sweep(sweep, "RUNNING")
    ready(server, sweep, 0.5)
    (command,) = heartbeat()
    assert (command["type"], command["args"], awaited) == ("run", args(0.5), [])
    assert (heartbeat(f'{{"{command["run_id"]}": true}}'), awaited) == ([], [])


def test_a_cap_on_runs_ends_the_choosing_and_the_sweep(server: Server) -> None:
    sweep = bayes(server, run_cap=3)
    agent = server.agent(sweep)
    order = server.do(lambda: server.store.suggestions.order(sweep.id, 8))
    assert order is not None
    assert order.problem.count == 3
    for x in (0.1, 0.2, 0.3):
        finish(server, claim(server, sweep, agent, x), '{"loss": 1}')
    assert server.do(lambda: server.store.suggestions.order(sweep.id, 8)) is None
    assert server.heartbeat(agent) == [{"type": "exit"}]
    assert server.sweep_now(sweep).state == "FINISHED"


def test_what_was_chosen_before_a_change_of_the_space_is_dropped(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)
    ready(server, sweep, 0.5)
    config = server.config_text(sweep).replace('"max": 1.0', '"max": 0.25')
    server.do(lambda: server.store.sweeps.change(server.sweep_now(sweep), SweepChange(config=config)))
    assert server.heartbeat(agent) == []


def test_there_is_nothing_to_choose_for_a_sweep_that_is_gone_ended_or_searched_otherwise(server: Server) -> None:
    ended, grid = bayes(server), server.sweep()
    server.set_sweep(ended, "FINISHED")
    for sweep_id in (ended.id, grid.id, 999):
        assert server.do(lambda id_=sweep_id: server.store.suggestions.order(id_, 1)) is None


def test_missing_packages_are_named_when_a_sweep_is_made_or_changed_to_need_them(server: Server) -> None:
    project = server.project()
    sweeps = Sweeps(server.store.database, Clock(), lambda: "abcdefgh", is_installed=lambda name: name != "optuna")
    config = f"{{method: bayes, metric: {{name: loss}}, parameters: {PLANE}}}"
    words = r"method = 'bayes' needs optuna, .* pip install 'hydra-wandb-sweeper\[optuna\]'"
    with pytest.raises(ClientError, match=words):
        server.do(lambda: sweeps.create(project, SweepChange(config=config)))
    grid = server.sweep()
    with pytest.raises(ClientError, match=words):
        server.do(lambda: sweeps.change(grid, SweepChange(config=config)))
    assert server.sweep_now(grid).method == "grid"


def test_a_package_that_is_installed_while_the_server_runs_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("installed_meanwhile")
    seen = tmp_path.stat()
    (tmp_path / "installed_meanwhile.py").touch()
    # Within the resolution of a file system's clock the directory looks as it did.
    os.utime(tmp_path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert is_installed("installed_meanwhile")


# --- agents that wait ---


class Desk:
    """A suggester on a real store, whose problems are solved when the test says so."""

    def __init__(self, server: Server, patience_s: float = 30.0) -> None:
        self.server = server
        self.problems: list[Problem] = []
        self.may_solve = threading.Event()
        self.error: Exception | None = None
        self.numbers = itertools.count(1)
        self.suggester = Suggester(self.in_store, server.store.suggestions, self.solve, patience_s)

    async def in_store(self, work: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        return self.server.do(work)

    def solve(self, problem: Problem) -> list[dict[str, Any]]:
        self.problems.append(problem)
        assert self.may_solve.wait(30)
        if self.error:
            raise self.error
        return [args(next(self.numbers) / 1000) for _ in range(problem.count)]

    async def come(self, sweep: Sweep, agent: Agent) -> list[dict[str, Any]]:
        """A heartbeat as the server answers it."""
        await self.suggester.wait_for_trial(sweep.id)
        return self.server.heartbeat(agent)


def test_agents_that_come_at_the_same_time_all_get_different_trials(server: Server) -> None:
    sweep = bayes(server)
    agents = [server.agent(sweep) for _ in range(50)]

    async def scenario() -> tuple[list[Any], list[Problem]]:
        desk = Desk(server)
        desk.may_solve.set()
        answers = await asyncio.gather(*(desk.come(sweep, agent) for agent in agents))
        await desk.suggester.close()
        return answers, desk.problems

    answers, problems = asyncio.run(scenario())
    xs = [command["args"]["x"]["value"] for (command,) in answers]
    assert len(set(xs)) == 50
    assert len({command["run_id"] for (command,) in answers}) == 50
    assert sum(problem.count for problem in problems) == 50
    assert len(problems) < 10  # not each for itself
    for earlier, later in itertools.pairwise(problems):
        assert later.first == earlier.first + earlier.count == len(later.seen)


def test_while_a_trial_is_being_chosen_the_store_goes_on_and_nobody_waits_for_ever(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)

    async def scenario() -> None:
        desk = Desk(server, patience_s=0.05)
        assert await desk.come(sweep, agent) == []  # told to come again
        assert await desk.in_store(lambda: server.store.sweeps.count(sweep.project_id)) == 1
        desk.may_solve.set()
        while not (answer := server.heartbeat(agent)):
            await asyncio.sleep(0.001)
        assert answer[0]["args"] == args(0.001)
        assert len(desk.problems) == 1  # what was chosen is not chosen again
        await desk.suggester.close()

    asyncio.run(scenario())


def test_what_kept_a_trial_from_being_chosen_is_told_to_those_who_wait_and_the_next_ones_try_again(
    server: Server,
) -> None:
    sweep = bayes(server)
    agents = [server.agent(sweep) for _ in range(3)]

    async def scenario() -> None:
        desk = Desk(server)
        desk.may_solve.set()
        desk.error = ClientError("no optuna")
        answers = await asyncio.gather(*(desk.come(sweep, agent) for agent in agents), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["no optuna"] * 3
        desk.error = None
        assert len(await desk.come(sweep, agents[0])) == 1
        await desk.suggester.close()

    asyncio.run(scenario())


def test_agents_that_come_after_the_last_trial_are_not_kept_waiting(server: Server) -> None:
    sweep = bayes(server, run_cap=2)
    agents = [server.agent(sweep) for _ in range(4)]

    async def scenario() -> list[Any]:
        desk = Desk(server)
        desk.may_solve.set()
        answers = await asyncio.gather(*(desk.come(sweep, agent) for agent in agents))
        await desk.suggester.close()
        return answers

    assert sorted(map(len, asyncio.run(scenario()))) == [0, 0, 1, 1]


def test_a_server_that_ends_lets_nobody_wait(server: Server) -> None:
    sweep = bayes(server)
    agent = server.agent(sweep)

    async def scenario() -> None:
        desk = Desk(server)
        waiting = asyncio.create_task(desk.come(sweep, agent))
        while not desk.problems:
            await asyncio.sleep(0.001)
        await desk.suggester.close()
        assert await waiting == []
        desk.may_solve.set()

    asyncio.run(scenario())
