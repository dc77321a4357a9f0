"""What an agent decides, with a server, trials and time that the test commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._agent import Agent
from hydra_plugins.hydra_wandb_sweeper._client import Command, SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import ServerError, ServerUnreachableError
from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._files import write_whole
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._output_place import note_place
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._settle import AgentSettings, AgentSummary, Settler
from hydra_plugins.hydra_wandb_sweeper._wakeup import Wakeup
from hydra_plugins.hydra_wandb_sweeper._walltime import UNLIMITED, WallTime
from tests.unit.sweeper.test_ledger import RECORD

SETTINGS = AgentSettings(
    max_retries=1, max_failure_rate=1.0, max_consecutive_failures=5, trials_per_agent=None, idle_s=0.01, grace_s=1.0
)
EXIT = [Command("exit")]


class FakeServer:
    """Hands out a grid of `size` trials."""

    def __init__(self, size: int, is_running: bool = True) -> None:
        self.left = [f"run{i}" for i in range(size)]
        self.is_running = is_running
        self.during: list[list[Command] | Exception] = []
        self.claims: list[list[Command] | Exception] = []
        self.beats: list[tuple[str, ...]] = []
        self.deaths: list[tuple[str, int, str]] = []
        self.preempting: list[str] = []
        self.ended = False
        self.logs: list[list[str]] = []
        self.goodbyes: list[tuple[str, str]] = []
        self.own_agents: list[tuple[str, str | None]] = []
        self.summary: dict[str, Any] = {}

    def create_agent(self, ref: SweepRef, host: str) -> str | None:
        return "agent" if self.is_running else None

    def create_own_agent(self, ref: SweepRef, host: str, label: str, job: str | None) -> str | None:
        self.own_agents.append((label, job))
        return self.create_agent(ref, host)

    def heartbeat(self, agent_id: str, live_runs: tuple[str, ...], *, patient: bool = True) -> list[Command]:
        self.beats.append(live_runs)
        script = self.during if live_runs else self.claims
        if script:
            answer = script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if live_runs:
            return []
        if not self.left or self.ended:
            return EXIT
        run = self.left.pop(0)
        return [Command("run", run, {"lr": 0.1})]

    def end_agent(self, agent_id: str, how: str) -> None:
        self.goodbyes.append((agent_id, how))

    def record_death(
        self, ref: SweepRef, run_id: str, exit_code: int, reason: str, log_lines: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        self.deaths.append((run_id, exit_code, reason))
        self.logs.append(list(log_lines))
        return self.summary

    def record_end(self, ref: SweepRef, run_id: str, exit_code: int) -> None:
        self.deaths.append((run_id, exit_code, ""))

    def end_sweep(self, ref: SweepRef) -> None:
        self.ended = True

    def mark_preempting(self, ref: SweepRef, run_id: str) -> None:
        self.preempting.append(run_id)


@dataclass
class FakeProcess:
    """A trial that needs `beats` waits to end."""

    code: int
    beats: int = 0
    terminated: bool = False
    failure: str | None = None
    grace_s: float | None = None

    @property
    def exit_code(self) -> int:
        return -15 if self.terminated else self.code

    def wait(self, timeout_s: float) -> bool:
        if self.terminated or self.beats <= 0:
            return True
        self.beats -= 1
        return False

    def terminate(self, grace_s: float) -> None:
        self.terminated = True

    def preempt(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.terminated = True


Plan = Callable[[Trial], tuple[str | None, int]]


@dataclass
class FakeIsolation:
    """plan: trial -> (state that its process leaves, or None if it dies silently; exit code)."""

    plan: Plan
    beats: int = 0
    ran: list[str] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)
    on_start: Callable[[Trial], None] = lambda _: None

    def start(self, trial: Trial, result_path: Path) -> FakeProcess:
        self.ran.append(f"{trial.label}:{trial.run_id}")
        state, code = self.plan(trial)
        if state is not None:
            error = None if state == "finished" else "boom"
            metrics: Mapping[str, float] = {"loss": 1.0} if state == "finished" else {}
            write_whole(
                result_path,
                {"state": state, "metrics": metrics, "error": error, "error_line": error, "output_dir": "d"},
            )
        process = FakeProcess(code, self.beats)
        self.processes.append(process)
        self.on_start(trial)
        return process

    def wait_until_clear(self) -> None:
        """Nothing is left of any attempt."""


def finishes(_: Trial) -> tuple[str | None, int]:
    return "finished", 0


def fails(_: Trial) -> tuple[str | None, int]:
    return "failed", 1


@dataclass
class Bench:
    """An agent and everything around it."""

    directory: Path
    server: FakeServer
    isolation: FakeIsolation
    settings: AgentSettings = SETTINGS
    expected: int | None = None
    server_kind: str = "local"
    now: float = 0.0
    wall_time: WallTime = UNLIMITED

    def agent(self, name: str = "agent-0") -> Agent:
        def clock() -> float:
            self.now += 10.0  # every look at the clock is later than the next heartbeat is due
            return self.now

        return Agent(
            name,
            replace(RECORD, expected_trials=self.expected, server=ServerRef(self.server_kind, "somewhere")),
            self.settings,
            client=self.server,  # type: ignore[arg-type]
            ledger=Ledger(self.directory, name),
            isolation=self.isolation,
            wakeup=Wakeup(),
            wall_time=self.wall_time,
            clock=clock,
        )

    def run(self, name: str = "agent-0") -> AgentSummary:
        return self.agent(name).run()

    def history(self) -> History:
        history = History()
        history.add(EventReader(self.directory).new_events())
        return history

    def states(self) -> list[str]:
        trials = self.history().trials
        return [trials[n].state for n in sorted(trials)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    Ledger.create(tmp_path, RECORD, "supervisor")
    return Bench(tmp_path, FakeServer(3), FakeIsolation(finishes))


def test_an_agent_works_until_the_server_has_no_more_trials(bench: Bench) -> None:
    summary = bench.run()
    assert (summary.trials, summary.failures) == (3, 0)
    assert bench.states() == ["finished"] * 3
    assert bench.history().agents["agent-0"].ended == "the server has no more trials"


@pytest.mark.parametrize(
    ("wall_time", "left_s"), [(UNLIMITED, None), (WallTime(3600.0, clock=lambda: 600.0), 3000.0)]
)
def test_an_agent_says_when_the_time_of_its_job_is_over(
    bench: Bench, wall_time: WallTime, left_s: float | None
) -> None:
    bench.wall_time = wall_time
    agent = bench.agent()
    agent.run()
    known = bench.history().agents["agent-0"]
    assert known.job_end == (None if left_s is None else pytest.approx(known.started + left_s, abs=5))


@pytest.mark.parametrize(("server_kind", "told"), [("local", [("agent-7", "812_3")]), ("wandb", [])])
def test_only_an_embedded_server_is_told_the_agent_s_name_and_its_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, server_kind: str, told: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "812")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    bench.server_kind = server_kind
    bench.run("agent-7")
    assert bench.server.own_agents == told


def test_an_agent_leaves_without_asking_when_every_trial_is_claimed(bench: Bench) -> None:
    bench.expected, bench.server_kind = 2, "wandb"
    summary = bench.run()
    assert summary.trials == 2
    assert len([live for live in bench.server.beats if not live]) == 2


@pytest.mark.parametrize("answer", [[], EXIT, ServerUnreachableError("it is away")], ids=["wait", "exit", "away"])
def test_an_agent_leaves_when_every_trial_is_claimed_and_the_embedded_server_wants_none_again(
    bench: Bench, answer: list[Command] | Exception
) -> None:
    bench.expected = 2
    bench.server.claims = [[Command("run", "a", {})], [Command("run", "b", {})], answer]
    assert bench.run().trials == 2
    assert bench.history().agents["agent-0"].ended is not None
    assert bench.server.claims == []


def test_a_trial_that_somebody_wants_again_is_run_again_when_every_trial_is_claimed(bench: Bench) -> None:
    bench.settings = replace(SETTINGS, max_retries=0)
    bench.expected = 2
    again = Command("resume", "a", {}, is_retry=True)
    bench.server.claims = [[Command("run", "a", {})], [Command("run", "b", {})], [again], []]
    bench.isolation.plan = lambda trial: fails(trial) if trial.label == "000000.0" else finishes(trial)
    bench.run()
    assert bench.isolation.ran == ["000000.0:a", "000001.0:b", "000000.1:a"]
    assert bench.states() == ["finished", "finished"]
    assert not list((bench.directory / ".sweep" / "failed").iterdir())


def test_an_agent_that_comes_after_the_end_does_what_is_on_offer_and_leaves(bench: Bench) -> None:
    bench.server.is_running = False
    Ledger(bench.directory, "supervisor").offer(Trial(0, 1, "old", {"lr": 0.1}, resumes=True), "test")
    summary = bench.run()
    assert bench.isolation.ran == ["000000.1:old"]
    assert summary.ended == "the sweep is not running any more"


def test_an_agent_waits_while_the_server_has_nothing_for_now(bench: Bench) -> None:
    bench.server.claims = [[], [], []]
    assert bench.run().trials == 3


def test_trials_per_agent_is_a_limit(bench: Bench) -> None:
    bench.settings = replace(SETTINGS, trials_per_agent=2)
    summary = bench.run()
    assert summary.trials == 2
    assert "trials_per_agent" in summary.ended


def test_trials_handed_out_together_are_run_one_after_another(bench: Bench) -> None:
    bench.server.claims = [[Command("run", "a", {}), Command("run", "b", {})]]
    bench.server.left = []
    assert bench.run().trials == 2
    assert bench.isolation.ran == ["000000.0:a", "000001.0:b"]


def test_a_failed_trial_is_run_again_under_the_same_run_id_and_number(bench: Bench) -> None:
    bench.isolation.plan = lambda t: fails(t) if t.run_id == "run1" and t.attempt == 0 else finishes(t)
    summary = bench.run()
    assert bench.isolation.ran == ["000000.0:run0", "000001.0:run1", "000001.1:run1", "000002.0:run2"]
    assert bench.states() == ["finished"] * 3
    assert summary.failures == 1


def test_a_trial_fails_for_good_when_its_retries_are_used_up(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.isolation.plan = lambda t: fails(t) if t.run_id == "run1" else finishes(t)
    bench.run()
    assert bench.isolation.ran.count("000001.1:run1") == 1
    assert bench.states() == ["finished", "failed", "finished"]
    first, second = (
        re.sub("Trial .* failed", "Trial … failed", said) for said in caplog.messages if "failed" in said
    )
    assert first == "Trial … failed: boom; retry 1 of 1 follows"
    assert second == "Trial … failed: boom"


def test_a_trial_that_dies_without_a_word_is_a_failure_that_its_run_shows(bench: Bench) -> None:
    bench.settings = replace(SETTINGS, max_retries=0)
    bench.isolation.plan = lambda _: (None, -9)
    bench.server.left = ["run0"]
    bench.run()
    assert bench.states() == ["failed"]
    (death,) = bench.server.deaths
    assert death[:2] == ("run0", 137)
    assert "SIGKILL (out of memory?)" in death[2]
    assert bench.history().trials[0].error_line == death[2]
    assert bench.history().trials[0].output_dir is None
    assert bench.server.logs == [[]]


@pytest.mark.parametrize("text", ["one\ntwo", "", None], ids=["a log", "an empty one", "none"])
def test_where_a_trial_ran_that_dies_without_a_word_is_known(bench: Bench, tmp_path: Path, text: str | None) -> None:
    """Its process has noted it, and its last lines are the run's log if that has none."""
    place = tmp_path / "outputs"
    place.mkdir()
    if text is not None:
        (place / "trial.log").write_text(text)

    def dies(trial: Trial) -> tuple[str | None, int]:
        note_place(Ledger(bench.directory, "").result_path(trial), place)
        return None, 1

    bench.settings = replace(SETTINGS, max_retries=0)
    bench.isolation.plan = dies
    bench.server.left = ["run0"]
    bench.run()
    assert bench.history().trials[0].output_dir == str(place)
    assert bench.server.logs == [["one\n", "two\n"] if text else []]


def test_too_many_failures_stop_the_sweep_for_everybody(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.settings = replace(SETTINGS, max_retries=0, max_failure_rate=0.2)
    bench.server.left = [f"run{i}" for i in range(10)]
    bench.expected = 10
    bench.isolation.plan = fails
    summary = bench.run()
    assert summary.trials == 3
    assert bench.server.ended
    assert bench.history().stop_reason == "3 of 10 trials failed (hydra.sweeper.max_failure_rate=0.2)"
    assert f"The sweep is stopped: {bench.history().stop_reason}" in caplog.messages


def test_an_agent_on_a_bad_node_hands_its_trials_to_another_one(bench: Bench) -> None:
    bench.settings = replace(SETTINGS, max_consecutive_failures=2)
    bench.server.left = [f"run{i}" for i in range(4)]
    bench.isolation.plan = fails
    bad = bench.run("bad")
    assert "2 trials failed one after another" in bad.ended
    bench.isolation.plan = finishes
    bench.run("good")
    assert bench.states() == ["finished"] * 4
    assert not list((bench.directory / ".sweep" / "failed").iterdir())


def test_a_success_in_between_makes_a_node_good_again(bench: Bench) -> None:
    bench.settings = replace(SETTINGS, max_retries=0, max_consecutive_failures=2)
    bench.server.left = [f"run{i}" for i in range(6)]
    bench.isolation.plan = lambda t: fails(t) if t.number % 2 else finishes(t)
    assert bench.run().trials == 6


def test_a_stop_of_the_server_ends_the_trial_and_is_no_failure(bench: Bench) -> None:
    bench.server.left = ["run0"]
    bench.isolation.beats = 3
    bench.server.during = [[], [Command("stop", "run0")]]
    summary = bench.run()
    assert bench.isolation.processes[0].terminated
    assert bench.states() == ["stopped"]
    assert summary.failures == 0
    assert bench.server.deaths[0][1] == 255


@pytest.mark.parametrize("leaves_result", [True, False])
def test_a_trial_that_is_stopped_early_has_its_last_value_as_result_and_is_not_run_again(
    bench: Bench, leaves_result: bool
) -> None:
    bench.server.left = ["run0", "run1"]
    bench.server.summary = {"loss": 1.0, "text": "no metric", "_step": 3}
    bench.isolation.plan = lambda t: finishes(t) if leaves_result else (None, -15)
    bench.isolation.beats = 3
    reason = "stopped early: bracket 3, loss 0.52 > 0.31"
    bench.server.during = [[Command("stop", "run0", reason=reason)], [Command("stop", "run1")]]
    summary = bench.run()
    assert bench.states() == ["stopped", "stopped"]
    assert [trial.metrics for trial in bench.history().trials.values()] == [{"loss": 1.0}] * 2
    assert [trial.error_line for trial in bench.history().trials.values()] == [
        reason, "stopped by the server, by early_terminate or by hand",
    ]  # fmt: skip
    assert (summary.trials, summary.failures) == (2, 0)
    assert bench.server.deaths[0] == ("run0", 255, reason)


def test_the_server_is_asked_why_w_and_b_s_sdk_has_stopped_a_run(bench: Bench) -> None:
    bench.server.left = ["run0"]
    bench.isolation.plan = lambda _: ("stopped", 255)
    reason = "stopped early: bracket 3, loss 0.52 > 0.31"
    bench.server.during = [[Command("stop", "run0", reason=reason)]]
    assert bench.run().failures == 0
    assert bench.states() == ["stopped"]
    assert bench.history().trials[0].error_line == reason


def test_a_stop_for_another_run_is_not_ours(bench: Bench) -> None:
    bench.isolation.beats = 2
    bench.server.during = [[Command("stop", "someone-else")]]
    bench.run()
    assert bench.states() == ["finished"] * 3


@pytest.mark.parametrize("error", [ServerUnreachableError("gone"), ServerError("refused", 403)])
def test_a_trial_goes_on_while_the_server_is_away(bench: Bench, error: Exception) -> None:
    bench.isolation.beats = 4
    bench.server.during = [error, error]
    bench.run()
    assert bench.states() == ["finished"] * 3


def test_a_server_that_stays_away_ends_the_agent_with_its_words(bench: Bench) -> None:
    bench.server.claims = [ServerUnreachableError("no answer within 1800 s")]
    summary = bench.run()
    assert summary.ended == "no answer within 1800 s"
    assert bench.history().agents["agent-0"].ended == summary.ended


def test_an_agent_told_to_stop_hands_over_its_trial(bench: Bench) -> None:
    bench.server.left = ["run0", "run1"]
    bench.isolation.beats = 5
    bench.isolation.plan = lambda t: (None, 0) if t.attempt == 0 else ("finished", 0)
    agent = bench.agent("first")
    bench.isolation.on_start = lambda _: agent.stop("it was told to by SIGTERM")
    assert agent.run().ended == "it was told to by SIGTERM"
    assert bench.states() == ["queued"]
    bench.isolation.on_start = lambda _: None
    bench.isolation.plan = finishes
    bench.run("second")
    assert bench.isolation.ran == ["000000.0:run0", "000000.1:run0", "000001.0:run1"]
    assert bench.states() == ["finished", "finished"]
    offer = bench.history().trials[0].trial
    assert (offer.resumes, offer.failures) == (True, 0)


def test_an_agent_that_is_interrupted_from_within_hands_over_too(bench: Bench) -> None:
    class Checkpoint(BaseException):
        pass

    def interrupt(_: Trial) -> None:
        raise Checkpoint

    bench.isolation.plan = lambda _: (None, 0)
    bench.isolation.beats = 1

    class Interrupting(FakeProcess):
        def wait(self, timeout_s: float) -> bool:
            raise Checkpoint

    start = bench.isolation.start

    def start_interrupting(trial: Trial, path: Path) -> Any:
        start(trial, path)
        return Interrupting(0)

    bench.isolation.start = start_interrupting  # type: ignore[method-assign]
    with pytest.raises(Checkpoint):
        bench.run()
    assert bench.states() == ["queued"]
    assert bench.history().agents["agent-0"].ended == "interrupted"


def test_a_run_that_the_server_hands_out_again_while_it_is_on_offer_runs_once(bench: Bench) -> None:
    ledger = Ledger(bench.directory, "supervisor")
    first = ledger.number_trial("run0", {"lr": 0.1})
    ledger.begin(first)
    ledger.offer_again(first, "agent died")
    bench.server.claims = [[Command("resume", "run0", {"lr": 0.1})], EXIT]
    bench.run()
    assert bench.isolation.ran[0] == "000000.1:run0"
    assert len([r for r in bench.isolation.ran if r.endswith(":run0")]) <= 2


def test_a_run_that_another_agent_has_just_taken_up_is_left_to_it(bench: Bench) -> None:
    other = Ledger(bench.directory, "other")
    trial = other.number_trial("run0", {"lr": 0.1})
    assert other.begin(trial)
    bench.server.left = []
    bench.server.claims = [[Command("resume", "run0", {"lr": 0.1})], EXIT]
    assert bench.run().trials == 0
    # Later on nobody has heard of it for long: its agent must be dead.
    bench.settings = replace(bench.settings, fresh_claim_s=0.0)
    bench.server.claims = [[Command("resume", "run0", {"lr": 0.1})], EXIT]
    assert bench.run("third").trials == 1


def test_a_trial_taken_from_the_ledger_is_listed_to_the_server_before_it_begins(bench: Bench) -> None:
    other = Ledger(bench.directory, "other")
    trial = other.number_trial("run0", {"lr": 0.1})
    assert other.begin(trial)
    other.offer(replace(trial, attempt=1, resumes=True), "made room")
    bench.server.left = []
    seen: list[tuple[str, ...]] = []
    bench.isolation.on_start = lambda _: seen.extend(bench.server.beats)
    assert bench.run().trials == 1
    assert seen == [("run0",)]


def test_a_finished_run_that_the_server_hands_out_again_is_not_run_again(bench: Bench) -> None:
    bench.run()
    ran = list(bench.isolation.ran)
    bench.server.claims = [[Command("resume", "run0", {"lr": 0.1})]]
    bench.run("another")
    assert bench.isolation.ran == ran
    assert bench.server.deaths == [("run0", 0, "")]


@pytest.mark.parametrize(
    ("name", "left_s", "stops"),
    [
        ("SIGTERM", 10_000.0, True),
        ("SIGTERM", 80.0, True),  # scancel near the end is no warning
        ("SIGUSR2", 10_000.0, True),  # preemption on clusters that announce it so
        ("SIGUSR2", 80.0, False),  # the warning, a minute early
        ("SIGUSR2", 29.0, True),
    ],
)
def test_a_warning_that_comes_early_is_heeded_when_it_is_due(
    bench: Bench, name: str, left_s: float, stops: bool
) -> None:
    bench.wall_time = WallTime(deadline_s=left_s, warning_s=30.0, clock=lambda: 0.0)
    agent = bench.agent()
    agent.on_signal(name)
    assert (agent.stop_reason is not None) == stops


def test_a_trial_that_failed_for_good_is_not_run_again_when_the_server_offers_its_run(bench: Bench) -> None:
    bench.server.left = ["run0"]
    bench.isolation.plan = fails
    bench.run()
    assert bench.states() == ["failed"]
    ran = len(bench.isolation.ran)
    bench.server.claims = [[Command("resume", "run0", {"lr": 0.1})], EXIT]
    bench.run("second")
    assert len(bench.isolation.ran) == ran
    assert ("run0", 1, "") in bench.server.deaths


def test_an_agent_that_came_late_to_a_bad_node_hands_back_the_few_trials_it_had(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings = replace(SETTINGS, max_retries=0)
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    assert bench.run("agent-0").failures == 0
    bench.server.left = ["late"]
    bench.isolation.plan = fails
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    summary = bench.run("agent-1")
    assert summary.gave_up
    assert "on other nodes they finish" in summary.ended
    assert bench.states() == ["finished"] * 3 + ["queued"]
    assert bench.history().bad_nodes() == ["n2"]
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    bench.isolation.plan = finishes
    bench.run("agent-2")
    assert bench.states() == ["finished"] * 4


def test_where_nobody_else_finishes_trials_failures_stay_failures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings = replace(SETTINGS, max_retries=0)
    bench.isolation.plan = fails
    for name in ("n1", "n2"):
        monkeypatch.setenv("SLURMD_NODENAME", name)
        assert not bench.run(f"agent-{name}").gave_up
    assert bench.states() == ["failed"] * 3


@pytest.mark.parametrize(("idled_s", "state"), [(0.0, "failed"), (300.0, "queued")])
def test_a_trial_that_had_most_of_its_job_s_time_needs_no_second_job(
    bench: Bench, idled_s: float, state: str
) -> None:
    now = 0.0
    bench.server = FakeServer(1)
    bench.settings = replace(SETTINGS, max_retries=0)
    bench.wall_time = WallTime(1000.0, 30.0, lambda: now)
    agent = bench.agent()
    now = idled_s
    bench.isolation.plan = lambda _: (None, 1)
    bench.isolation.beats = 5

    def run_into_the_limit(_: Trial) -> None:
        nonlocal now
        now = 975.0

    bench.isolation.on_start = run_into_the_limit
    agent.run()
    assert bench.states() == [state]
    told = [event["error"] or "" for event in EventReader(bench.directory).new_events() if event["event"] == "ended"]
    rule = "it had a job to itself and didn't finish within the time limit; raise hydra.launcher.timeout_min, or "
    assert any(reason.startswith(rule) for reason in told) == (state == "failed"), told


def test_a_trial_does_not_go_on_while_the_server_is_away(bench: Bench) -> None:
    bench.server.left = []
    ledger = Ledger(bench.directory, "agent-9")
    trial = ledger.number_trial("run0", {"lr": 0.1})
    assert ledger.begin(trial)
    ledger.offer(replace(trial, attempt=1, resumes=True), "retry")
    bench.server.during = [ServerUnreachableError("gone")]
    summary = bench.run()
    assert summary.ended == "gone"
    assert bench.isolation.ran == []
    bench.run("agent-1")
    assert bench.isolation.ran == ["000000.2:run0"]
    assert bench.states() == ["finished"]


def test_a_trial_that_another_agent_has_taken_up_is_not_handed_back(bench: Bench) -> None:
    ledger, other = Ledger(bench.directory, "agent-0"), Ledger(bench.directory, "agent-1")
    settler = Settler(RECORD, SETTINGS, bench.server, ledger, AgentSummary("agent-0"))  # type: ignore[arg-type]
    taken, left = (ledger.number_trial(name, {}) for name in ("run0", "run1"))
    failed = {"state": "failed", "metrics": {}, "error": "e", "error_line": "e", "output_dir": None}
    for trial in (taken, left):
        assert ledger.begin(trial)
    settler.settle(taken, failed, 1.0)
    assert other.take_offer() is not None
    settler.settle(left, failed, 1.0)
    settler.give_up()
    assert [offer.number for offer in iter(other.take_offer, None)] == [1]


def test_an_interrupted_run_of_another_directory_is_left_to_that(bench: Bench) -> None:
    bench.server.left = []
    bench.server.claims = [[Command("resume", "elsewhere", {})], EXIT]
    bench.run()
    assert bench.isolation.ran == []
