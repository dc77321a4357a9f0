"""Agents, processes, users and time against the store in any order: nothing is lost, nothing is handed out twice."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.server.support import GRID_OF_FOUR, Server
from wandb_sweep_server.assignments import is_held
from wandb_sweep_server.records import Agent, Run
from wandb_sweep_server.store import Limits

TRIALS = [{"a": {"value": a}, "b": {"value": b}} for a in (1, 2) for b in ("x", "y")]
MAX_LOSSES = 2
QUEUEABLE = ("pending", "crashed", "preempted")
LIVE = ("pending", "running", "preempting")


@dataclass(eq=False)
class Process:
    """A trial's process: it may live on when its agent is gone."""

    name: str
    is_announced: bool = False


@dataclass(eq=False)
class Host:
    """An agent with its processes."""

    agent: Agent
    processes: list[Process] = field(default_factory=list)


class SweepMachine(RuleBasedStateMachine):
    """What can happen to a grid of four; data() chooses to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="sweep-machine-"))
        self.server = Server(self.directory, Limits(max_losses=MAX_LOSSES))
        self.sweep = self.server.sweep(GRID_OF_FOUR)
        self.hosts: list[Host] = []
        self.orphans: list[Process] = []
        self.over: set[str] = set()  # names of finished runs
        self.ended_by_user = False
        self.said = 0
        self.last_words: dict[str, dict[str, Any]] = {}  # of the process that was preempted last, by its run

    # --- what the rules need ---

    def state(self) -> str:
        return self.server.sweep_now(self.sweep).state

    def processes(self) -> list[Process]:
        return [process for host in self.hosts for process in host.processes] + self.orphans

    def pick(self, data: st.DataObject, items: list[Any]) -> Any:
        return items[data.draw(st.integers(0, len(items) - 1))]

    def gone(self, process: Process) -> None:
        for processes in (self.orphans, *(host.processes for host in self.hosts)):
            if process in processes:
                processes.remove(process)

    # --- agents ---

    @precondition(lambda self: len(self.hosts) < 4 and self.state() in ("PENDING", "RUNNING", "PAUSED"))
    @rule()
    def an_agent_joins(self) -> None:
        self.hosts.append(Host(self.server.agent(self.sweep)))

    @precondition(lambda self: self.hosts)
    @rule(data=st.data())
    def an_agent_beats(self, data: st.DataObject) -> None:
        self.beat(self.pick(data, self.hosts))

    def beat(self, host: Host) -> None:
        runs, before = self.server.runs(), self.server.sweep_now(self.sweep)
        queued = [run.name for run in runs if run.queued_at is not None]
        preempted = [run.name for run in runs if run.queued_at is not None and run.state == "preempted"]
        listed = [process.name for process in host.processes]
        agent = self.server.store.agents.by_id(host.agent.id)
        others = {run.name for run in runs if run.agent_id != host.agent.id}
        taken_away = set(json.loads(agent.listed if agent else "")) & set(listed) & others
        commands = self.server.heartbeat(host.agent, *listed)
        stops = {command["run_id"] for command in commands if command["type"] == "stop"}
        offers = [command for command in commands if command["type"] in ("run", "resume")]
        known = {run.name for run in runs}

        for name in set(listed) - stops:
            assert self.server.run(name).agent_id == host.agent.id, "two agents have it and none is told to stop"
        assert taken_away <= stops, "it goes on with a run that another agent has now"
        assert stops <= set(listed), "it was told to stop what it doesn't have"
        assert len(offers) <= 1
        assert not (offers and listed), "a busy agent was given more"
        assert not offers or before.state in ("PENDING", "RUNNING"), "an ended or paused sweep handed out a run"
        for offer in offers:
            is_new = offer["run_id"] not in known
            assert not (is_new and queued), "a new trial came before the queued run"
            assert not preempted or offer["run_id"] in preempted, "another run came before the preempted one"
            assert is_new or offer["args"] == json.loads(self.server.run(offer["run_id"]).args or "")
            assert self.server.run(offer["run_id"]).queued_at is None
            host.processes.append(Process(offer["run_id"]))
        for process in [p for p in host.processes if p.name in stops]:
            self.gone(process)
        if {"type": "exit"} in commands:
            assert not listed, "exit would kill what runs"
            self.hosts.remove(host)

    @precondition(lambda self: self.hosts)
    @rule(data=st.data(), and_its_processes=st.booleans())
    def an_agent_dies(self, data: st.DataObject, and_its_processes: bool) -> None:
        host = self.pick(data, self.hosts)
        self.hosts.remove(host)
        if not and_its_processes:
            self.orphans += host.processes

    # --- processes ---

    @precondition(lambda self: self.processes())
    @rule(data=st.data())
    def a_process_announces_its_run(self, data: st.DataObject) -> None:
        self.announce(self.pick(data, self.processes()))

    def announce(self, process: Process) -> None:
        self.server.start(process.name, self.sweep)
        process.is_announced = True
        self.over.discard(process.name)

    @precondition(lambda self: any(p.is_announced for p in self.processes()))
    @rule(data=st.data(), code=st.sampled_from([0, 0, 0, 1, 255]), is_gone=st.booleans())
    def a_process_ends(self, data: st.DataObject, code: int, is_gone: bool) -> None:
        process = self.pick(data, [p for p in self.processes() if p.is_announced])
        self.said += 1
        summary = {"content": [json.dumps({"by": self.said})]}
        last_word = {"complete": True, "exitcode": code, "files": {"wandb-summary.json": summary}}
        was = self.server.run(process.name).state
        if self.server.post(process.name, last_word).state == "preempted" != was:
            self.last_words[process.name] = last_word
        if is_gone:  # else its agent lists it once more
            self.gone(process)

    @precondition(lambda self: self.last_words)
    @rule(data=st.data())
    def a_preempted_process_says_its_last_word_again(self, data: st.DataObject) -> None:
        name = self.pick(data, sorted(self.last_words))
        before = self.server.run(name)
        assert self.server.post(name, self.last_words[name]) == before

    @precondition(lambda self: any(p.is_announced for p in self.processes()))
    @rule(data=st.data())
    def a_process_streams_or_expects_its_preemption(self, data: st.DataObject) -> None:
        process = self.pick(data, [p for p in self.processes() if p.is_announced])
        self.server.post(process.name, data.draw(st.sampled_from([{}, {"preempting": True}])))

    @precondition(lambda self: self.processes())
    @rule(data=st.data())
    def a_process_is_killed(self, data: st.DataObject) -> None:
        self.gone(self.pick(data, self.processes()))

    # --- time, users, the server ---

    @rule(seconds=st.sampled_from([5.0, 61.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.server.time.pass_s(seconds)
        self.server.keep_house()

    @rule(hours=st.sampled_from([-30.0, 2.0]))
    def the_clock_is_set(self, hours: float) -> None:
        before = [(run.name, run.state) for run in self.server.runs()]
        self.server.time.jump_s(hours * 3600.0)
        self.server.keep_house()
        assert [(run.name, run.state) for run in self.server.runs()] == before

    @rule()
    def the_server_restarts(self) -> None:
        self.server.reopen()

    @precondition(lambda self: self.state() in ("PENDING", "RUNNING", "PAUSED"))
    @rule(is_paused=st.booleans())
    def a_user_pauses_or_resumes(self, is_paused: bool) -> None:
        self.server.set_sweep(self.sweep, "PAUSED" if is_paused else "RUNNING")

    @precondition(lambda self: len(self.server.runs()) >= 3 and self.state() == "RUNNING")
    @rule(state=st.sampled_from(["FINISHED", "CANCELED"]), is_meant=st.integers(0, 3))
    def a_user_ends_the_sweep(self, state: str, is_meant: int) -> None:
        if not is_meant:
            self.server.set_sweep(self.sweep, state)
            self.ended_by_user = True

    @precondition(lambda self: self.server.runs())
    @rule(data=st.data())
    def a_user_stops_a_run(self, data: st.DataObject) -> None:
        self.server.stop_run(self.pick(data, self.server.runs()).name)

    @precondition(lambda self: self.state() == "RUNNING" and self.can_be_retried())
    @rule(data=st.data())
    def a_user_wants_a_run_to_be_tried_again(self, data: st.DataObject) -> None:
        run = self.pick(data, self.can_be_retried())
        self.server.do(lambda: self.server.store.runs.offer_again(run))

    def can_be_retried(self) -> list[Run]:
        return [r for r in self.server.runs() if r.state in ("failed", "crashed", "killed") and r.queued_at is None]

    # --- what always holds ---

    @invariant()
    def each_configuration_has_exactly_one_run(self) -> None:
        handed_out = [json.loads(run.args or "") for run in self.server.runs()]
        assert handed_out == TRIALS[: len(handed_out)]
        sweep = self.server.sweep_now(self.sweep)
        assert sweep.next_trial == sweep.run_count == len(handed_out)

    @invariant()
    def only_what_has_not_ended_for_good_is_queued(self) -> None:
        for run in self.server.runs():
            assert run.queued_at is None or run.state in QUEUEABLE or run.is_retry, run
            assert run.losses <= MAX_LOSSES

    @invariant()
    def a_finished_run_stays_so_until_a_process_announces_it_again(self) -> None:
        finished = {run.name for run in self.server.runs() if run.state == "finished"}
        assert self.over <= finished
        self.over |= finished

    @invariant()
    def who_has_a_run_is_written_down(self) -> None:
        rows = self.server.store.database.rows("SELECT * FROM assignments WHERE ended_at IS NULL")
        held = {run.id: run.agent_id for run in self.server.runs() if is_held(run)}
        assert {row["run_id"]: row["agent_id"] for row in rows} == held

    def what_is_left(self) -> list[Run]:
        return [run for run in self.server.runs() if run.queued_at is not None or run.state in LIVE]

    # --- the end: all agents keep working ---

    def teardown(self) -> None:
        try:
            self.work_to_the_end()
        finally:
            self.server.store.close()
            shutil.rmtree(self.directory)

    def work_to_the_end(self) -> None:
        if self.state() == "PAUSED":
            self.server.set_sweep(self.sweep, "RUNNING")
        if self.state() in ("PENDING", "RUNNING"):
            self.hosts.append(Host(self.server.agent(self.sweep)))
        self.orphans.clear()
        self.until(lambda: not self.hosts, self.work)
        if self.ended_by_user:
            return
        runs = self.server.runs()
        assert [json.loads(run.args or "") for run in runs] == TRIALS
        assert self.state() == "FINISHED"
        assert self.what_is_left() == []
        for run in runs:
            reason = {
                "finished": True,
                "failed": run.exit_code not in (None, 0),
                "killed": run.stop_requested,
                "crashed": run.losses == MAX_LOSSES,
            }
            assert reason.get(run.state), run

    def work(self) -> None:
        for host in list(self.hosts):
            for process in list(host.processes):
                self.announce(process)
                self.server.exit(process.name, 0)
                self.gone(process)
            self.beat(host)
        self.server.time.pass_s(100.0)
        self.server.keep_house()

    def until(self, is_reached: Callable[[], bool], step: Callable[[], None]) -> None:
        for _ in range(60):
            if is_reached():
                return
            step()
        raise AssertionError(f"agents never get to the end: {self.what_is_left()}")


TestSweepMachine = SweepMachine.TestCase
TestSweepMachine.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
