"""What a supervisor does about jobs that end, die or are refused; the test commands the cluster and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._attention import LeftSweep
from hydra_plugins.hydra_wandb_sweeper._client import SweepInfo, SweepRef
from hydra_plugins.hydra_wandb_sweeper._control import Control
from hydra_plugins.hydra_wandb_sweeper._errors import ServerUnreachableError, SweepFailedError
from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._files import write_whole
from hydra_plugins.hydra_wandb_sweeper._fleet import Fleet, restart_wait_s
from hydra_plugins.hydra_wandb_sweeper._history import AgentHistory, History, JobRecord
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._signs import SignOfLife
from hydra_plugins.hydra_wandb_sweeper._supervisor import Supervisor
from hydra_plugins.hydra_wandb_sweeper._takeover import take_over
from hydra_plugins.hydra_wandb_sweeper._watch import Watch
from tests.unit.sweeper.test_agent import SETTINGS
from tests.unit.sweeper.test_ledger import RECORD


@dataclass
class FakeJob:
    number: int
    ended: bool = False

    @property
    def job_id(self) -> str:
        return f"70{self.number}"

    def record(self) -> JobRecord:
        return JobRecord(self.number, self.job_id, "slurm", "h", "/logs")

    waits: bool = False

    def has_ended(self) -> bool:
        return self.ended

    def is_waiting(self) -> bool:
        return self.waits

    def describe(self) -> str:
        return f"job 70{self.number} (NODE_FAIL), log /logs/{self.number}"


@dataclass
class FakeJobSettings:
    agents_per_job: int = 1
    settings: Any = SETTINGS
    silence_s: float | None = 600.0


@dataclass
class FakeCluster:
    """work: what the agent of a started job does, by the ledger; True if its job has ended by then."""

    work: Callable[[int], bool]
    accepts: int = 99
    refusal: SweepFailedError | None = None
    blocks: bool = False
    started: list[int] = field(default_factory=list)
    cancelled: list[tuple[list[int], bool]] = field(default_factory=list)
    jobs: list[FakeJob] = field(default_factory=list)
    avoided: list[list[str]] = field(default_factory=list)
    hung: list[tuple[int, list[str]]] = field(default_factory=list)
    has_begun: Callable[[int], bool] = lambda _: False

    def start(self, job: Any, numbers: Sequence[int], avoid: Sequence[str] = ()) -> Sequence[FakeJob]:
        self.avoided.append(list(avoid))
        running = len([job for job in self.jobs if not job.ended])
        room = self.accepts - running
        if self.refusal is not None:
            raise self.refusal
        if room <= 0:
            raise SweepFailedError("sbatch: QOSMaxSubmitJobPerUserLimit", is_limit=True)
        new = [FakeJob(number) for number in numbers[:room]]
        self.jobs += new
        for started in new:
            self.started.append(started.number)
            started.ended = self.work(started.number)
        return new

    def adopt(self, jobs: Iterable[JobRecord]) -> Sequence[FakeJob]:
        numbers = {job.number for job in jobs}
        return [job for job in self.jobs if job.number in numbers and not job.ended]

    def look_again(self) -> None: ...

    def end_hung(self, job: FakeJob, agents: Sequence[AgentHistory]) -> None:
        self.hung.append((job.number, [agent.name for agent in agents]))
        job.ended = True

    def cancel(self, jobs: Sequence[FakeJob], *, waiting_only: bool = False) -> None:
        self.cancelled.append(([job.number for job in jobs], waiting_only))
        for job in jobs:
            job.ended = job.ended or not (waiting_only and self.has_begun(job.number))


@dataclass
class FakeClient:
    """A sweep that runs."""

    error: Exception | None = None
    deaths: list[tuple[str, int, str]] = field(default_factory=list)
    ended_agents: list[tuple[str, str]] = field(default_factory=list)

    def end_agent(self, agent_id: str, how: str) -> None:
        if self.error is not None:
            raise self.error
        self.ended_agents.append((agent_id, how))

    def record_death(self, ref: SweepRef, run_id: str, exit_code: int, reason: str) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        self.deaths.append((run_id, exit_code, reason))
        return {}

    def get_sweep(self, ref: SweepRef) -> SweepInfo:
        if self.error is not None:
            raise self.error
        return SweepInfo(ref, "id", "RUNNING", {})


@dataclass
class Bench:
    directory: Path
    trials: int
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster(lambda _: True))
    client: FakeClient = field(default_factory=FakeClient)
    now: float = 0.0
    naps: int = 0
    handed_out: set[int] = field(default_factory=set)
    on_nap: Callable[[], None] = lambda: None

    def ledger(self, name: str) -> Ledger:
        return Ledger(self.directory, name, lambda: self.now)

    def watch(self) -> Watch:
        """As another process sees it."""
        return Watch(self.ledger("").root, lambda: self.now, lambda _: None)

    def agent(
        self,
        number: int,
        trials: Sequence[int],
        *,
        dies_in: int | None = None,
        restarts: int = 0,
        found_no_more: bool = False,
        server_id: str | None = None,
    ) -> bool:
        """An agent that runs these new trials (or what is on offer, if any) and leaves, or dies in one of them."""
        name = f"agent-{number}" + (f"r{restarts}" if restarts else "")
        ledger = self.ledger(name)
        ledger.record(
            "agent_started",
            host="h",
            pid=1,
            process_start="1",
            job="1",
            job_number=number,
            restarts=restarts,
            node=f"n{number}",
        )
        if server_id is not None:
            ledger.record("agent_registered", server_id=server_id)
        new = [n for n in trials if n not in self.handed_out]
        while (trial := self.claim(ledger, new)) is not None:
            if trial.number == dies_in:
                return True
            ledger.record(
                "ended", trial, state="finished", metrics={}, error=None, error_line=None, output_dir="d",
                duration_s=1.0, final=True,
            )  # fmt: skip
        ledger.record("agent_ended", reason="done", trials=0, gave_up=False, found_no_more=found_no_more)
        return True

    def bad_agent(self, number: int, trials: Sequence[int]) -> bool:
        """An agent in which these trials fail, so that it gives up."""
        ledger = self.ledger(f"agent-{number}")
        ledger.record(
            "agent_started",
            host="h",
            pid=1,
            process_start="1",
            job="1",
            job_number=number,
            restarts=0,
            node=f"n{number}",
        )
        for trial in [self.claim(ledger, [n]) for n in trials]:
            assert trial is not None
            ledger.record(
                "ended", trial, state="failed", metrics={}, error="e", error_line="e", output_dir="d", duration_s=1.0,
                final=True,
            )  # fmt: skip
            ledger.offer_again(trial, "its agent gave up")
        ledger.record("agent_ended", reason="3 trials failed", trials=3, gave_up=True, found_no_more=False)
        return True

    def claim(self, ledger: Ledger, new: list[int]) -> Trial | None:
        offer = ledger.take_offer()
        if offer is not None or not new:
            return offer
        n = new.pop(0)
        self.handed_out.add(n)
        trial = ledger.number_trial(f"run{n}", {"lr": n})
        assert ledger.begin(trial)
        return trial

    def supervise(
        self, jobs: int, max_agent_restarts: int = 3, *, is_open: bool = False, name: str = "supervisor"
    ) -> Supervisor:
        """is_open: only the server knows how many trials there will be. name: another supervisor goes on."""

        def nap(seconds: float) -> None:
            self.now += max(seconds, 0.5)
            self.naps += 1
            assert self.naps < 5000, "it doesn't end"
            self.on_nap()

        record = replace(RECORD, expected_trials=None if is_open else self.trials)
        ledger = self.ledger(name)

        def note(handles: Sequence[Any]) -> None:
            for handle in handles:
                ledger.record("job_submitted", **asdict(handle.record()))

        fleet = Fleet(
            self.cluster, FakeJobSettings(), clock=lambda: self.now,  # type: ignore[arg-type]
            reserve=ledger.reserve_job_numbers, on_started=note,
        )  # fmt: skip
        supervisor = Supervisor(
            record, ledger, self.client, fleet,  # type: ignore
            History(), None, max_agent_restarts, sleep=nap, clock=lambda: self.now,
        )  # fmt: skip
        supervisor._watch = self.watch()
        (supervisor.see_through if name == "supervisor" else supervisor.go_on)(jobs)
        return supervisor

    def keep(self, jobs: int) -> tuple[Supervisor, bool]:
        """What a keeper does once the jobs that it waited for have ended; see _keeper."""
        ledger = self.ledger("keeper")
        fleet = Fleet(
            self.cluster, FakeJobSettings(), clock=lambda: self.now, reserve=ledger.reserve_job_numbers  # type: ignore
        )  # fmt: skip
        record = replace(RECORD, expected_trials=self.trials)
        supervisor = Supervisor(record, ledger, self.client, fleet, History(), None, 3)  # type: ignore
        return supervisor, supervisor.go_on_unattended(jobs)

    def leave_after(self, naps: int) -> None:
        def leave() -> None:
            if self.naps == naps:
                raise LeftSweep("its terminal was closed")

        self.on_nap = leave

    def leave_with_one_dead(self) -> None:
        """A supervisor of two jobs leaves; then agent-0 dies in its trial, while agent-1 runs one."""
        self.cluster.work = lambda number: self.agent(number, [number], dies_in=number) and False
        self.leave_after(1)
        with pytest.raises(LeftSweep):
            self.supervise(2)
        self.cluster.jobs[0].ended = True

    def counts(self, supervisor: Supervisor) -> dict[str, int]:
        return dict(supervisor.history.counts())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    Ledger.create(tmp_path, RECORD, "supervisor")
    bench = Bench(tmp_path, 4)
    bench.cluster.has_begun = lambda number: (tmp_path / ".sweep" / "events" / f"agent-{number}.jsonl").exists()
    return bench


def test_jobs_that_do_all_the_work_are_all_there_is(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, [number * 2, number * 2 + 1])
    supervisor = bench.supervise(2)
    assert bench.cluster.started == [0, 1]
    assert bench.counts(supervisor) == {"finished": 4}
    assert supervisor.failure(0.5) is None


def test_a_dead_agent_is_replaced_and_its_trial_taken_over(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.cluster.work = lambda number: bench.agent(number, range(4), dies_in=2 if number == 0 else None)
    supervisor = bench.supervise(1)
    assert bench.cluster.started == [0, 1]
    assert bench.counts(supervisor) == {"finished": 4}
    assert supervisor.history.trials[2].trial.failures == 1
    assert "agent-0 died: job 700 (NODE_FAIL), log /logs/0" in caplog.messages


def test_a_trial_that_kills_every_agent_is_failed_in_the_end(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, range(4), dies_in=2)
    supervisor = bench.supervise(1, max_agent_restarts=9)
    assert bench.counts(supervisor) == {"finished": 3, "failed": 1}
    ((run_id, _, reason),) = bench.client.deaths
    assert run_id == "run2"
    assert supervisor.history.trials[2].error_line == "agent-1 died while it ran the trial"
    assert "(NODE_FAIL), log /logs/1" in reason


def test_a_cluster_that_kills_everything_ends_the_sweep_with_reason_job_state_and_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.cluster.work = lambda number: True
    supervisor = bench.supervise(2, max_agent_restarts=3)
    failure = supervisor.failure(1.0)
    assert failure is not None
    assert failure.startswith("4 trial(s) could not be run to their end: ")
    assert "4 trial(s) are left, but no agent could run them." in caplog.messages
    assert "agent-7 was gone before it began: job 707" in failure
    assert "(NODE_FAIL), log /logs/" in failure
    assert 2 < len(bench.cluster.started) <= 2 * 4


def test_the_waits_between_replacements_grow_and_have_an_end() -> None:
    waits = [restart_wait_s(setbacks) for setbacks in range(20)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == 300.0


def test_jobs_that_are_too_many_for_now_follow_as_others_end(bench: Bench) -> None:
    bench.cluster.accepts = 1
    bench.cluster.work = lambda number: bench.agent(number, [number]) and False

    def end_the_oldest() -> None:
        for job in [job for job in bench.cluster.jobs if not job.ended][:1]:
            job.ended = True

    bench.on_nap = end_the_oldest
    supervisor = bench.supervise(4)
    assert bench.cluster.started == [0, 1, 2, 3]
    assert bench.counts(supervisor) == {"finished": 4}
    assert bench.now < 30  # a place is taken as soon as it is free


def test_a_refusal_of_every_job_is_the_error_that_the_user_sees(bench: Bench) -> None:
    bench.cluster.refusal = SweepFailedError("The jobs can't be submitted: sbatch says no")
    with pytest.raises(SweepFailedError, match="sbatch says no"):
        bench.supervise(2)


def test_jobs_that_wait_when_all_is_done_are_cancelled(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, range(4)) if number == 0 else False
    supervisor = bench.supervise(3)
    assert bench.counts(supervisor) == {"finished": 4}
    assert bench.cluster.cancelled[0] == ([1, 2], True)


def test_a_server_that_can_not_be_asked_does_not_end_the_sweep(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.client.error = ServerUnreachableError("gone")
    bench.cluster.work = lambda number: bench.agent(number, [2 * number, 2 * number + 1])
    supervisor = bench.supervise(1)
    assert bench.counts(supervisor) == {"finished": 4}
    assert "The sweep's state can't be asked for, it is taken to be running: gone" in caplog.messages


def test_an_interrupt_cancels_all_jobs(bench: Bench) -> None:
    bench.cluster.work = lambda number: False

    def interrupt() -> None:
        if bench.naps == 3:
            raise KeyboardInterrupt

    bench.on_nap = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.supervise(2)
    assert ([0, 1], False) in bench.cluster.cancelled


def test_agents_can_tell_whether_a_supervisor_watches(bench: Bench) -> None:
    seen = []
    bench.cluster.work = lambda number: (
        seen.append(bench.watch().holder() is not None) or bench.agent(number, range(4))
    )
    bench.supervise(1)
    assert seen == [True]
    assert bench.watch().holder() is None
    assert bench.watch().keep()
    bench.now += 89
    assert bench.watch().holder() is not None
    bench.now += 2
    assert bench.watch().holder() is None


def test_a_death_is_recorded_once_and_told_to_the_server(bench: Bench) -> None:
    def work(number: int) -> bool:
        bench.agent(number, range(4), dies_in=1 if number == 0 else None, server_id=f"id-{number}")
        return True

    bench.cluster.work = work
    bench.supervise(1)
    told = [e["agent"] for e in EventReader(bench.directory).new_events() if e["event"] == "agent_died"]
    assert told == ["agent-0"]
    assert bench.client.ended_agents == [("id-0", "died")]


def test_a_server_that_does_not_hear_of_a_death_keeps_nobody_from_going_on(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(
        number, range(4), dies_in=1 if number == 0 else None, server_id="i"
    )
    bench.client.error = ServerUnreachableError("gone")
    assert bench.counts(bench.supervise(1)) == {"finished": 4}


def test_a_requeued_job_whose_last_agent_ended_well_has_not_died(bench: Bench) -> None:
    def work(number: int) -> bool:
        bench.agent(number, range(4), dies_in=1)
        # What the requeued job does first, see AgentJob.run.
        history = History()
        history.add(EventReader(bench.directory).new_events())
        take_over(bench.ledger("job-0r1"), history, "agent-0", max_retries=1)
        return bench.agent(number, range(4), restarts=1)

    bench.cluster.work = work
    supervisor = bench.supervise(1)
    assert bench.cluster.started == [0]
    assert bench.counts(supervisor) == {"finished": 4}
    assert supervisor.history.trials[1].trial.failures == 1
    assert supervisor.failure(0.0) is None


def test_agents_are_not_sent_again_to_where_everything_failed_while_elsewhere_it_does_not(bench: Bench) -> None:
    bench.trials = 6

    def work(number: int) -> bool:
        if number == 0:
            bench.bad_agent(0, [0, 1])
        else:
            bench.agent(number, [2, 3] if number == 1 else range(6))
        return True

    bench.cluster.work = work
    supervisor = bench.supervise(2)
    assert bench.counts(supervisor) == {"finished": 6}
    assert bench.cluster.avoided == [[], ["n0"]]


def test_where_every_agent_fails_no_node_is_to_blame(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.bad_agent(number, [2 * number, 2 * number + 1])
    history = History()
    bench.cluster.work(0)
    bench.cluster.work(1)
    history.add(EventReader(bench.directory).new_events())
    assert history.bad_nodes() == []


def test_a_trial_whose_agent_died_after_its_end_is_not_run_again(bench: Bench) -> None:
    def work(number: int) -> bool:
        bench.agent(number, range(4), dies_in=2 if number == 0 else None)
        if number == 0:
            finished = {"state": "finished", "metrics": {}, "error": None, "error_line": None, "output_dir": "d"}
            write_whole(bench.ledger("").result_path(Trial(2, 0, "run2")), finished)
        return True

    bench.cluster.work = work
    supervisor = bench.supervise(1)
    assert bench.counts(supervisor) == {"finished": 4}
    assert supervisor.history.trials[2].trial.attempt == 0


def test_where_only_the_server_knows_the_end_agents_without_time_are_replaced(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def work(number: int) -> bool:
        bench.agent(number, [number], found_no_more=number == 3)
        return True

    bench.cluster.work = work
    supervisor = bench.supervise(1, is_open=True)
    assert bench.cluster.started == [0, 1, 2, 3]
    assert bench.counts(supervisor) == {"finished": 4}
    assert "1 trial(s) are left after all jobs have ended; starting 1 more job(s) in 0 s." in caplog.messages


# --- left, and gone on with ---


def test_a_supervisor_that_leaves_cancels_nothing(bench: Bench) -> None:
    bench.cluster.work = lambda number: False
    bench.leave_after(3)
    with pytest.raises(LeftSweep):
        bench.supervise(2)
    assert bench.cluster.cancelled == []
    assert bench.watch().holder() is None


def test_another_supervisor_adopts_living_jobs_and_takes_up_what_dead_ones_left(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, [number], dies_in=1) and False
    bench.leave_after(2)
    with pytest.raises(LeftSweep):
        bench.supervise(2)
    # While nobody watches, the job of trial 1 ends; that of trial 0 goes on and takes the rest.
    bench.cluster.jobs[1].ended = True

    def work_on() -> None:
        if not bench.cluster.jobs[0].ended:
            bench.agent(0, range(4))
            bench.cluster.jobs[0].ended = True

    bench.on_nap = work_on
    bench.cluster.work = lambda number: bench.agent(number, range(4))
    supervisor = bench.supervise(2, name="another")
    assert bench.counts(supervisor) == {"finished": 4}
    assert supervisor.history.trials[1].trial.failures == 1
    assert bench.cluster.started[:2] == [0, 1]
    assert 1 not in bench.cluster.started[2:], "numbers are never used twice"


def test_going_on_with_a_sweep_that_has_ended_starts_nothing(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, range(4))
    bench.supervise(1)
    supervisor = bench.supervise(1, name="another")
    assert bench.cluster.started == [0]
    assert supervisor.failure(0.5) is None


def test_a_supervisor_goes_when_another_one_has_taken_its_place(bench: Bench) -> None:
    bench.cluster.work = lambda number: False

    def fall_silent() -> None:
        bench.now += 100
        assert bench.watch().keep()

    bench.on_nap = fall_silent
    with pytest.raises(LeftSweep, match="another supervisor watches it"):
        bench.supervise(1)
    assert bench.watch().holder() is not None, "the other one's sign of life stays"
    assert bench.cluster.cancelled == []


def test_jobs_that_another_process_adds_are_watched_and_replaced_too(bench: Bench) -> None:
    bench.trials = 6
    bench.cluster.work = lambda number: False

    def add_one() -> None:
        if bench.naps == 1:
            ledger = bench.ledger("command")
            (number,) = ledger.reserve_job_numbers(1)
            bench.cluster.jobs.append(FakeJob(number))
            ledger.record("job_submitted", **asdict(bench.cluster.jobs[-1].record()))
            ledger.record("jobs_added", jobs=1)
        if bench.naps == 4:
            bench.agent(1, range(6), dies_in=0)
            bench.cluster.jobs[1].ended = True
            bench.cluster.work = lambda number: bench.agent(number, range(6))
        if bench.naps == 9:
            bench.agent(0, [])
            bench.cluster.jobs[0].ended = True

    bench.on_nap = add_one
    supervisor = bench.supervise(1)
    assert bench.cluster.started == [0, 2]
    assert bench.counts(supervisor) == {"finished": 6}


def test_drained_jobs_are_not_replaced(bench: Bench) -> None:
    def work(number: int) -> bool:
        if number == 0:
            bench.ledger("command").record("jobs_drained", jobs=[0])
        return bench.agent(number, [number]) if number < 2 else bench.agent(number, range(4))

    bench.cluster.work = work
    supervisor = bench.supervise(2)
    assert bench.counts(supervisor) == {"finished": 4}
    assert bench.cluster.started == [0, 1, 2], "one at a time from then on"


def test_a_sweep_that_begins_no_more_trials_ends_without_those_that_are_left(bench: Bench) -> None:
    control = Control(bench.ledger("").root)

    def work(number: int) -> bool:
        control.drain()
        return bench.agent(number, [0])

    bench.cluster.work = work
    supervisor = bench.supervise(1)
    assert bench.cluster.started == [0]
    assert supervisor.failure(0.5) == "it was told to begin no more trials, 1 of 4 have ended"
    control.allow()
    bench.cluster.work = lambda number: bench.agent(number, range(4))
    assert bench.counts(bench.supervise(1, name="another")) == {"finished": 4}


def test_waiting_jobs_are_cancelled_at_once_when_no_more_trials_begin(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, [0]) and False if number == 0 else False

    def drain() -> None:
        Control(bench.ledger("").root).drain()
        if bench.naps == 3:
            bench.cluster.jobs[0].ended = True

    bench.on_nap = drain
    bench.supervise(3)
    assert bench.cluster.cancelled[0] == ([0, 1, 2], True)
    assert bench.cluster.started == [0, 1, 2]


def test_a_keeper_leaves_jobs_that_were_added_to_their_work(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, [number], dies_in=number) and False
    bench.leave_after(2)
    with pytest.raises(LeftSweep):
        bench.supervise(2)
    bench.cluster.jobs[0].ended = True  # the keeper waited for this one alone
    supervisor, goes_on = bench.keep(1)
    assert goes_on
    assert [job.number for job in supervisor.fleet.live] == [1]
    assert not supervisor.fleet.has_due
    assert {n: t.state for n, t in supervisor.history.trials.items()} == {0: "queued", 1: "running"}
    bench.cluster.jobs[1].ended = True
    supervisor, goes_on = bench.keep(1)
    assert goes_on
    assert supervisor.fleet.has_due
    assert {t.state for t in supervisor.history.trials.values()} == {"queued"}


def test_a_keeper_replaces_a_dead_agent_while_the_others_work(bench: Bench) -> None:
    bench.leave_with_one_dead()
    supervisor, goes_on = bench.keep(2)
    assert goes_on
    assert [job.number for job in supervisor.fleet.live] == [1]
    assert supervisor.fleet.strength == 2
    assert supervisor.has_work_for_more
    assert {n: t.state for n, t in supervisor.history.trials.items()} == {0: "queued", 1: "running"}


def test_a_death_that_a_keeper_has_seen_to_is_none_for_the_next(bench: Bench) -> None:
    bench.leave_with_one_dead()
    first, _ = bench.keep(2)
    second, _ = bench.keep(2)
    assert (first.setbacks, second.setbacks) == (1, 0)


def test_a_keeper_leaves_what_a_limit_refuses_to_the_next(bench: Bench) -> None:
    bench.trials = 12
    bench.cluster.work = lambda number: bench.agent(number, [number]) and False
    bench.cluster.accepts = 2
    bench.leave_after(1)
    with pytest.raises(LeftSweep):
        bench.supervise(4)
    bench.cluster.jobs[0].ended = True
    bench.cluster.work = lambda number: bench.agent(number, [number]) and False
    supervisor, goes_on = bench.keep(4)
    assert goes_on
    assert not supervisor.fleet.is_as_planned
    supervisor.fleet.start_due()
    assert next(job.number for job in supervisor.fleet.live) == 1
    assert len(supervisor.fleet.live) == 2
    assert supervisor.fleet.is_as_planned, "for now"
    assert supervisor.has_work_for_more


def test_with_as_many_jobs_as_trials_are_left_none_that_ends_is_missed(bench: Bench) -> None:
    bench.cluster.work = lambda number: bench.agent(number, [number, number + 2], dies_in=number + 2) and False
    bench.leave_after(1)
    with pytest.raises(LeftSweep):
        bench.supervise(2)
    supervisor, goes_on = bench.keep(2)
    assert goes_on
    assert supervisor.fleet.strength == 2
    assert not supervisor.has_work_for_more


def test_the_job_of_an_agent_that_hangs_is_ended_and_replaced(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def work(number: int) -> bool:
        SignOfLife(bench.ledger("").root, f"agent-{number}").give()
        return bench.agent(number, range(4), dies_in=1 if number == 0 else None) and number != 0

    bench.cluster.work = work
    supervisor = bench.supervise(1)
    assert bench.cluster.hung == [(0, ["agent-0"])]
    assert bench.counts(supervisor) == {"finished": 4}
    assert bench.cluster.started == [0, 1]
    assert "agent-0 has given no sign of life for 10 min (hydra.sweeper.agent_silence_min)" in caplog.text
    assert 600 < bench.now < 700


def test_a_job_that_waits_in_the_queue_again_is_not_taken_to_hang(bench: Bench) -> None:
    def work(number: int) -> bool:
        SignOfLife(bench.ledger("").root, f"agent-{number}").give()
        if number:
            return bench.agent(number, range(4))
        bench.cluster.jobs[0].waits = True  # SLURM has put it back: its node was lost
        return bench.agent(number, range(4), dies_in=1) and False

    def come_back() -> None:
        if bench.now > 2000 and not bench.cluster.jobs[0].ended:
            bench.cluster.jobs[0].ended = bench.agent(0, range(4), restarts=1)

    bench.cluster.work, bench.on_nap = work, come_back
    bench.supervise(1)
    assert not bench.cluster.hung


def put_job_0_back(bench: Bench, *, at_nap: int) -> None:
    """Job 0's agent begins trial 0 and is not heard of again; from a nap on the job waits in the queue, for long."""
    bench.cluster.work = lambda _: False

    def nap() -> None:
        job = bench.cluster.jobs[0]
        if bench.naps == 1:
            bench.agent(0, [0], dies_in=0)
        job.waits = bench.naps >= at_nap
        if bench.now > 1000 and not job.ended:
            job.ended = bench.agent(0, range(4), restarts=1)

    bench.on_nap = nap


def test_the_trials_of_a_job_that_was_put_back_into_the_queue_do_not_wait_for_it(bench: Bench) -> None:
    put_job_0_back(bench, at_nap=3)
    offers = bench.ledger("").root / "offers"
    seen: list[int] = []
    nap = bench.on_nap

    def look() -> None:
        nap()
        if list(offers.iterdir()):
            seen.append(bench.naps)

    bench.on_nap = look
    supervisor = bench.supervise(1)
    assert seen[0] == 4
    assert bench.counts(supervisor) == {"finished": 4}
    assert supervisor.history.trials[0].trial.failures == 1
    assert supervisor.failure(0.0) is None


@pytest.mark.parametrize("at_nap", [0, 1])
def test_the_agent_of_a_job_that_only_seems_to_wait_is_left_alone(bench: Bench, at_nap: int) -> None:
    """The queue's answer is older than the agent."""
    put_job_0_back(bench, at_nap=at_nap)
    offers = bench.ledger("").root / "offers"
    nap = bench.on_nap

    def look() -> None:
        nap()
        assert not list(offers.iterdir())
        if bench.naps == 9:
            raise LeftSweep("enough was seen")

    bench.on_nap = look
    with pytest.raises(LeftSweep):
        bench.supervise(1)


def test_the_last_drained_agent_is_not_replaced_and_attaching_starts_one_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def work(number: int) -> bool:
        if number == 0:
            bench.ledger("command").record("jobs_drained", jobs=[0])
            return bench.agent(number, [0])
        return bench.agent(number, range(4))

    bench.cluster.work = work
    supervisor = bench.supervise(1)
    assert bench.cluster.started == [0]
    assert supervisor.failure(0.5) is not None
    assert "3 trial(s) are left, but all agents were sent home." in caplog.messages
    assert bench.counts(bench.supervise(1, name="another")) == {"finished": 4}


def test_no_job_is_started_while_the_sweep_is_paused(bench: Bench) -> None:
    control = Control(bench.ledger("").root)

    def work(number: int) -> bool:
        if number == 0:
            control.pause()
            return bench.agent(number, [0])
        return bench.agent(number, range(4))

    def resume() -> None:
        if bench.naps == 50:
            assert bench.cluster.started == [0]
            control.resume()

    bench.cluster.work = work
    bench.on_nap = resume
    supervisor = bench.supervise(1, max_agent_restarts=1)
    assert bench.counts(supervisor) == {"finished": 4}
    assert bench.cluster.started == [0, 1]


def test_two_that_take_over_from_one_dead_agent_offer_the_same_attempt(bench: Bench) -> None:
    bench.agent(0, [0], dies_in=0)
    early, late = History(), History()
    for history in (early, late):
        history.add(EventReader(bench.directory).new_events())
    take_over(bench.ledger("one"), early, "agent-0", 3)
    assert bench.ledger("agent-1").take_offer() is not None
    take_over(bench.ledger("another"), late, "agent-0", 3)
    assert bench.ledger("agent-2").take_offer() is None
