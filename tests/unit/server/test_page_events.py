"""What open pages of a sweep hear: each change once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.server.asgi import App
from tests.unit.server.pages import QUICK, Listener, data_path, finish_trial
from tests.unit.server.support import Server
from wandb_sweep_server.pages.events import Pace, Streams
from wandb_sweep_server.records import Agent, Sweep


class Watched:
    """A sweep that an agent works on, and a page of it that is open."""

    def __init__(self, server: Server, pace: Pace = QUICK) -> None:
        self.server = server
        self.app = App(server, pace=pace)
        self.sweep: Sweep = server.sweep(metric={"name": "loss"})
        self.agent: Agent = server.agent(self.sweep)
        self.data = self.whole()
        self.listeners: list[Listener] = []
        self.page = self.listen(self.data["revision"])

    def whole(self) -> dict[str, Any]:
        data: dict[str, Any] = self.app.ask("GET", data_path(self.sweep)).json()
        return data

    def listen(self, after: int | None = None, **headers: str) -> Listener:
        self.listeners.append(Listener(self.app, self.sweep, after, **headers))
        assert self.listeners[-1].begins()
        return self.listeners[-1]

    def close(self) -> None:
        for listener in self.listeners:
            listener.leave()
        self.app.close()


@pytest.fixture
def watched(server: Server) -> Iterator[Watched]:
    watched = Watched(server)
    yield watched
    watched.close()


def merged(data: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Sweep data after a change, as a page makes it."""
    runs = {run: _row(data["runs"], at) for at, run in enumerate(data["runs"]["id"]) if run not in change["deleted"]}
    runs |= {run: _row(change["runs"], at) for at, run in enumerate(change["runs"]["id"])}
    agents = {agent["name"]: agent for agent in [*data["agents"], *change["agents"]]}
    return {"sweep": {**data["sweep"], **change["sweep"]}, "runs": runs, "agents": list(agents.values())}


def _row(columns: dict[str, Any], at: int) -> dict[str, Any]:
    row = {name: column[at] for name, column in columns.items() if isinstance(column, list)}
    numbers = {name: column[at] for name, column in columns["metrics"].items() if column[at] is not None}
    return {**row, "metrics": numbers, "parameters": {name: c[at] for name, c in columns["parameters"].items()}}


def whole_as_merged(data: dict[str, Any]) -> dict[str, Any]:
    return merged(
        data, {"sweep": {}, "runs": {"id": [], "metrics": {}, "parameters": {}}, "agents": [], "deleted": []}
    )


def claim(watched: Watched) -> str:
    return watched.server.claim(watched.agent)


def log_summary(watched: Watched, name: str, **summary: Any) -> None:
    watched.server.post(name, {"files": {"wandb-summary.json": {"content": [json.dumps(summary)]}}})


def a_trial_is_claimed(watched: Watched) -> None:
    claim(watched)


def a_trial_logs(watched: Watched) -> None:
    name = claim(watched)
    watched.server.start(name, watched.sweep)
    log_summary(watched, name, loss=0.5)


def a_trial_finishes(watched: Watched) -> None:
    finish_trial(watched.server, watched.sweep, watched.agent, loss=0.25)


def a_trial_fails(watched: Watched) -> None:
    name = claim(watched)
    watched.server.start(name, watched.sweep)
    watched.server.exit(name, 3)


def a_trial_is_lost(watched: Watched) -> None:
    name = claim(watched)
    watched.server.start(name, watched.sweep)
    watched.server.time.pass_s(400)
    watched.server.keep_house()


def a_run_joins_by_itself(watched: Watched) -> None:
    watched.server.start("joined", watched.sweep)


def a_run_is_renamed(watched: Watched) -> None:
    name = claim(watched)
    watched.server.start(name, watched.sweep, display_name="another name", host="node7")


def a_run_is_deleted(watched: Watched) -> None:
    name = finish_trial(watched.server, watched.sweep, watched.agent)
    watched.server.do(lambda: watched.server.store.runs.delete(watched.server.run(name)))


def an_agent_joins(watched: Watched) -> None:
    watched.server.agent(watched.sweep, "node2")


def an_agent_is_told_to_leave(watched: Watched) -> None:
    watched.server.set_sweep(watched.sweep, "FINISHED")
    watched.server.heartbeat(watched.agent)


def the_sweep_is_paused(watched: Watched) -> None:
    watched.server.set_sweep(watched.sweep, "PAUSED")


def a_run_is_offered_again(watched: Watched) -> None:
    a_trial_fails(watched)
    watched.app.ask("POST", data_path(watched.sweep, "/retry"), b"{}")


CHANGES = [
    a_trial_is_claimed, a_trial_logs, a_trial_finishes, a_trial_fails, a_trial_is_lost, a_run_joins_by_itself,
    a_run_is_renamed, a_run_is_deleted, an_agent_joins, an_agent_is_told_to_leave, the_sweep_is_paused,
    a_run_is_offered_again,
]  # fmt: skip


@pytest.mark.parametrize("happens", CHANGES)
def test_after_each_kind_of_change_a_page_knows_what_one_that_is_opened_now_does(
    watched: Watched, happens: Callable[[Watched], None]
) -> None:
    happens(watched)
    change = watched.page.next()
    after = watched.whole()
    assert merged(watched.data, change) == whole_as_merged(after)
    assert change["revision"] == after["revision"] > watched.data["revision"]
    assert watched.page.is_quiet()


def test_an_event_has_only_what_has_changed(watched: Watched) -> None:
    first = finish_trial(watched.server, watched.sweep, watched.agent, loss=1.0)
    assert watched.page.next()["runs"]["id"] == [first]
    other = watched.server.agent(watched.sweep)
    second = watched.server.claim(other)
    change = watched.page.next()
    assert change["runs"]["id"] == [second]
    assert [agent["name"] for agent in change["agents"]] == [other.name]
    assert "config" not in change["sweep"]
    watched.server.set_sweep(watched.sweep, "PAUSED")
    change = watched.page.next()
    assert (change["runs"]["id"], change["agents"], change["sweep"]["state"]) == ([], [], "PAUSED")


def test_changes_of_another_sweep_and_of_no_sweep_are_not_heard(watched: Watched) -> None:
    other = watched.server.sweep()
    finish_trial(watched.server, other, watched.server.agent(other))
    watched.server.start("alone")
    assert watched.page.is_quiet()


def test_what_comes_to_nothing_is_not_heard_of_as_anything_else(watched: Watched) -> None:
    def fail() -> None:
        watched.server.store.sweeps.set_state(watched.sweep, "FINISHED")
        raise LookupError

    with pytest.raises(LookupError):
        watched.server.do(fail)
    assert watched.page.next()["sweep"]["state"] == "RUNNING"


@pytest.mark.parametrize("how", ["query", "Last-Event-ID"])
def test_a_page_that_was_away_misses_nothing(watched: Watched, how: str) -> None:
    finish_trial(watched.server, watched.sweep, watched.agent, loss=1.0)
    seen = watched.page.next()["revision"]
    watched.page.leave()
    second = finish_trial(watched.server, watched.sweep, watched.agent, loss=2.0)
    if how == "query":
        page = watched.listen(seen)
    else:  # a browser comes back with the address that it came with first
        page = watched.listen(watched.data["revision"], last_event_id=str(seen))
    assert page.next()["runs"]["id"] == [second]


def test_each_page_hears_everything(watched: Watched) -> None:
    other = watched.listen(watched.data["revision"])
    name = claim(watched)
    assert watched.page.next()["runs"]["id"] == other.next()["runs"]["id"] == [name]


@pytest.mark.parametrize("after", [None, 0, 1, 2**60])
def test_a_page_with_a_revision_of_another_server_reads_all_again(watched: Watched, after: int | None) -> None:
    page = watched.listen(after)
    assert page.reloads()
    page.ends()


def test_a_page_that_was_open_over_a_restart_reads_all_again(watched: Watched) -> None:
    watched.page.leave()
    watched.server.reopen()
    restarted = App(watched.server, pace=QUICK)
    page = Listener(restarted, watched.sweep, watched.data["revision"])
    assert page.reloads()
    page.ends()
    restarted.close()


def test_pages_are_let_go_before_the_server_ends(watched: Watched) -> None:
    watched.app.end_streams()
    watched.page.ends()
    late = Listener(watched.app, watched.sweep, watched.data["revision"])
    late.ends()


def test_a_page_hears_nothing_before_its_pause_is_over(server: Server) -> None:
    watched = Watched(server, Pace(pause_s=3600.0))
    names = [claim(watched)]
    assert watched.page.next()["runs"]["id"] == names
    for _ in range(3):
        server.claim(server.agent(watched.sweep))
    assert watched.page.is_quiet()  # for an hour
    watched.page.leave()
    watched.app.close()


def test_a_page_that_hears_nothing_gets_signs_of_life(server: Server) -> None:
    watched = Watched(server, Pace(pause_s=0.0, silence_s=0.01))
    assert watched.page.sign_of_life() == watched.page.sign_of_life()
    watched.close()


def test_an_open_page_is_no_activity(watched: Watched) -> None:
    watched.app.activity.last_s -= 100.0
    finish_trial(watched.server, watched.sweep, watched.agent)
    watched.page.next()
    watched.listen(watched.data["revision"])
    assert watched.app.activity.idle_s == 100.0
    watched.whole()
    watched.app.ask("GET", "/page/data/sweeps")
    assert watched.app.activity.idle_s == 100.0
    watched.app.ask("GET", f"/local/p/sweeps/{watched.sweep.name}")
    assert watched.app.activity.idle_s == 0.0


def test_a_page_that_cannot_be_told_what_has_changed_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    async def read(_: int | None) -> dict[str, Any] | None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def follow() -> list[bytes]:
        return [event async for event in Streams(QUICK).follow(1, None, read)]

    assert [event.partition(b":")[0] for event in asyncio.run(follow())] == [b"retry"]
    assert "a page isn't told what has changed: [Errno 28] No space left on device" in caplog.text
