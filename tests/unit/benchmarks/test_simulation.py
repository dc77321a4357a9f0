"""The simulation of large sweeps: its clock, its cluster and its accounts; the laws that hold in every course."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation import ours, peers
from benchmarks.simulation.cluster import DEAD_NODE_S, REQUEUE_HOLD_S, Cluster, Job
from benchmarks.simulation.stand_ins import NEXT_TRIAL_S, SharedLedger
from benchmarks.simulation.timeline import Killed, Process, Timeline
from benchmarks.simulation.workload import DAY_S, HOUR_S, Scenario, Workload
from hydra_plugins.hydra_wandb_sweeper._durations import Durations
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from tests.unit.sweeper.test_ledger import RECORD

# Nothing random: trials take an hour, jobs wait a minute, nothing fails.
PLAIN = Scenario(
    trials=3,
    shortest_s=HOUR_S,
    longest_s=HOUR_S,
    gpus=1,
    limit_s=2.5 * HOUR_S,
    wait_median_s=60.0,
    wait_sigma=0.0,
    crash_p=0.0,
    deaths_per_node_day=0.0,
)


# --- time ---


def test_processes_take_turns_in_the_order_of_simulated_time() -> None:
    timeline, seen = Timeline(), []

    def every(seconds: float) -> Callable[[Process], None]:
        def body(process: Process) -> None:
            for _ in range(3):
                process.wait(seconds)
                seen.append((seconds, process.clock()))

        return body

    for seconds in (2.0, 3.0):
        Process(timeline, every(seconds), lambda: seen.append(("end", timeline.now_s)))
    timeline.run()
    assert seen == [
        (2.0, 2.0),
        (3.0, 3.0),
        (2.0, 4.0),
        (3.0, 6.0),
        (2.0, 6.0),
        ("end", 6.0),
        (3.0, 9.0),
        ("end", 9.0),
    ]


def test_a_process_that_is_woken_waits_no_longer() -> None:
    timeline, woken = Timeline(), []
    process = Process(timeline, lambda p: woken.extend([p.wait(100.0), p.clock(), p.wait(1.0)]), lambda: None)
    timeline.call_in(5.0, process.wake)
    timeline.run()
    assert woken == [True, 5.0, False]


def test_a_dead_process_does_nothing_that_takes_time_and_its_end_is_not_told() -> None:
    timeline, seen = Timeline(), []

    def body(process: Process) -> None:
        try:
            process.wait(100.0)
        except Killed:
            seen.append("killed")
            with pytest.raises(Killed):
                process.clock()
            with pytest.raises(Killed):
                process.wait(1.0)
            raise

    process = Process(timeline, body, lambda: seen.append("end"))
    timeline.call_in(5.0, process.kill)
    timeline.run()
    assert (seen, timeline.now_s) == (["killed"], 5.0)


def test_an_error_in_a_process_ends_the_simulation() -> None:
    timeline = Timeline()

    def body(process: Process) -> None:
        process.wait(1.0)
        raise ValueError("broken")

    Process(timeline, body, lambda: None)
    with pytest.raises(ValueError, match="broken"):
        timeline.run()


# --- the cluster ---


class Jobs:
    """Jobs that run for a given time each; starts and ends as they happen."""

    def __init__(self, scenario: Scenario, run_s: float) -> None:
        self.timeline = Timeline()
        self.cluster = Cluster(scenario, self.timeline)
        self.run_s = run_s
        self.begun_s: list[float] = []
        self.ended_s: list[float] = []

    def submit(self) -> Job:
        return self.cluster.submit(Job(self._run, self._note))

    def _note(self, job: Job) -> None:
        if job.has_ended:
            self.ended_s.append(self.timeline.now_s)

    def _run(self, job: Job) -> None:
        self.begun_s.append(self.timeline.now_s)
        job.processes = [Process(self.timeline, lambda p: bool(p.wait(self.run_s)), lambda: self.cluster.end(job))]


@pytest.mark.parametrize(("ages_in_line", "begun_s"), [(True, [60.0, 60.0, 160.0]), (False, [60.0, 60.0, 220.0])])
def test_jobs_wait_side_by_side_or_each_for_its_turn(ages_in_line: bool, begun_s: list[float]) -> None:
    jobs = Jobs(replace(PLAIN, gpus=2, ages_in_line=ages_in_line), run_s=100.0)
    for _ in range(3):
        jobs.submit()
    jobs.timeline.run()
    assert jobs.begun_s == begun_s
    assert (jobs.cluster.most_gpus, jobs.cluster.most_jobs, jobs.cluster.allocated_s) == (2, 3, 300.0)


def test_a_job_is_killed_at_its_limit() -> None:
    jobs = Jobs(PLAIN, run_s=1e9)
    jobs.submit()
    jobs.timeline.run()
    assert jobs.ended_s == [60.0 + PLAIN.limit_s]
    assert (jobs.cluster.timeouts, jobs.cluster.allocated_s) == (1, PLAIN.limit_s)


def test_a_job_whose_node_dies_is_put_back_into_the_queue() -> None:
    scenario = replace(
        PLAIN, deaths_per_node_day=24.0, seed=next(s for s in range(99) if dies_once_within(s, 3600.0))
    )
    lives_s = scenario.until_death_s(0)
    jobs = Jobs(scenario, run_s=3600.0)
    job = jobs.submit()
    jobs.timeline.run()
    second_s = 60.0 + lives_s + DEAD_NODE_S + REQUEUE_HOLD_S + 60.0
    assert jobs.begun_s == pytest.approx([60.0, second_s])
    assert jobs.ended_s == pytest.approx([second_s + 3600.0])
    assert (job.restarts, jobs.cluster.deaths) == (1, 1)


def dies_once_within(seed: int, run_s: float) -> bool:
    scenario = replace(PLAIN, deaths_per_node_day=24.0, seed=seed)
    return scenario.until_death_s(0) < run_s < scenario.until_death_s(1)


def test_a_cancelled_job_gives_its_place_to_the_next_one() -> None:
    jobs = Jobs(replace(PLAIN, ages_in_line=False), run_s=100.0)
    first, waiting, _ = (jobs.submit() for _ in range(3))
    jobs.timeline.call_at(70.0, lambda: [jobs.cluster.cancel(job) for job in (waiting, first)] and None)
    jobs.timeline.run()
    assert jobs.begun_s == [60.0, 130.0]
    assert jobs.cluster.allocated_s == 10.0 + 100.0
    assert jobs.cluster.room == PLAIN.max_submit_jobs


# --- trials ---


@given(st.integers(0, 2**32), st.sampled_from(["log-uniform", "lognormal"]))
def test_durations_are_within_their_bounds(seed: int, durations: str) -> None:
    scenario = Scenario(seed=seed, durations=durations)
    assert all(scenario.shortest_s <= scenario.duration_s(trial) <= scenario.longest_s for trial in range(5))


@pytest.mark.parametrize(
    ("resumable", "warned", "kept_s"), [(False, True, 0.0), (True, False, 900.0), (True, True, 1000.0)]
)
def test_what_is_kept_of_an_interrupted_trial(resumable: bool, warned: bool, kept_s: float) -> None:
    now = 0.0
    workload = Workload(replace(PLAIN, resumable=resumable), lambda: now)
    attempt = workload.begin(0, start_up_s=5.0)
    now = 1005.0
    assert not workload.leave(attempt, warned=warned)
    again = workload.begin(0, start_up_s=5.0)
    assert again.ends_s == 1010.0 + HOUR_S - kept_s
    now = again.ends_s
    assert workload.leave(again)
    assert (workload.worked_s, workload.useful_s) == (1000.0 + HOUR_S - kept_s, HOUR_S)


# --- small courses, by hand ---

JOB_BEGINS_S = 60.0
WORK_BEGINS_S = JOB_BEGINS_S + PLAIN.import_s
# The supervisor sees the end of a job, and submits the next one when it looks again.
NEXT_JOB_S = 2 * ours.NOTICE_S + WORK_BEGINS_S
TWO_TRIALS_S = 2 * (NEXT_TRIAL_S + HOUR_S)


def test_an_agent_leaves_when_the_next_trial_does_not_fit_and_another_job_goes_on() -> None:
    workload, cluster = ours.simulate(PLAIN)
    assert workload.last_end_s == WORK_BEGINS_S + TWO_TRIALS_S + NEXT_JOB_S + NEXT_TRIAL_S + HOUR_S
    assert workload.worked_s == workload.useful_s == 3 * HOUR_S
    assert cluster.allocated_s == 2 * PLAIN.import_s + 3 * (NEXT_TRIAL_S + HOUR_S)


def test_a_resumable_trial_begins_at_once_and_goes_on_in_the_next_job() -> None:
    workload, cluster = ours.simulate(replace(PLAIN, resumable=True))
    warned_s = JOB_BEGINS_S + PLAIN.limit_s - PLAIN.warning_s
    done_s = warned_s - (WORK_BEGINS_S + TWO_TRIALS_S + NEXT_TRIAL_S)
    assert workload.last_end_s == pytest.approx(warned_s + NEXT_JOB_S + NEXT_TRIAL_S + HOUR_S - done_s)
    assert workload.worked_s == pytest.approx(workload.useful_s)
    assert (workload.attempts, cluster.starts) == (4, 2)


def test_a_job_that_may_come_back_after_its_limit_does_so() -> None:
    workload, cluster = ours.simulate(replace(PLAIN, max_num_timeout=1))
    next_job_s = REQUEUE_HOLD_S + WORK_BEGINS_S
    assert workload.last_end_s == WORK_BEGINS_S + TWO_TRIALS_S + next_job_s + NEXT_TRIAL_S + HOUR_S
    assert (cluster.starts, cluster.most_jobs) == (2, 1)


def test_a_trial_that_needs_more_than_a_whole_job_fails_after_its_retry() -> None:
    workload, _ = ours.simulate(replace(PLAIN, trials=1, shortest_s=5 * HOUR_S, longest_s=5 * HOUR_S))
    assert (workload.count("failed"), workload.attempts) == (1, 2)


def test_a_job_per_trial_costs_a_start_each() -> None:
    workload, cluster = peers.job_per_trial(PLAIN)
    assert workload.last_end_s == 60.0 + 3 * (PLAIN.import_s + HOUR_S)
    assert (workload.count("finished"), cluster.starts) == (3, 3)


def test_wandb_agent_without_a_limit_loses_the_trial_that_runs_at_its_jobs() -> None:
    workload, cluster = peers.wandb_agent(PLAIN, None)
    assert (workload.count("finished"), workload.count("failed"), workload.count(None)) == (2, 1, 0)
    assert (cluster.timeouts, cluster.allocated_s) == (1, PLAIN.limit_s)


@pytest.mark.parametrize(("count", "jobs"), [(1, 3), (2, 2)])
def test_wandb_agent_ends_after_as_many_trials_as_it_was_told(count: int, jobs: int) -> None:
    workload, cluster = peers.wandb_agent(PLAIN, count)
    assert (workload.count("finished"), cluster.starts) == (3, jobs)


# --- laws ---

scenarios = st.builds(
    Scenario,
    seed=st.integers(0, 999),
    trials=st.integers(1, 30),
    durations=st.sampled_from(["log-uniform", "lognormal"]),
    resumable=st.booleans(),
    gpus=st.sampled_from([4, 8]),
    agents=st.sampled_from([None, 4, 12]),
    gpus_per_job=st.sampled_from([1, 2, 4]),
    limit_s=st.sampled_from([DAY_S / 4, DAY_S / 2, DAY_S]),
    max_num_timeout=st.sampled_from([0, 2]),
    max_submit_jobs=st.integers(1, 9),
    wait_median_s=st.sampled_from([60.0, HOUR_S]),
    ages_in_line=st.booleans(),
    crash_p=st.sampled_from([0.0, 0.2]),
    deaths_per_node_day=st.sampled_from([0.0, 1.0]),
)


def check_accounts(scenario: Scenario, workload: Workload, cluster: Cluster) -> None:
    finished_s = sum(trial.duration_s for trial in workload.trials if trial.outcome == "finished")
    assert workload.useful_s == pytest.approx(finished_s)
    # GPU time is useful, work that is lost, or neither.
    tiny_s = 1e-3
    assert workload.useful_s <= workload.worked_s + tiny_s
    assert workload.worked_s <= cluster.allocated_s + tiny_s
    assert cluster.most_gpus <= scenario.gpus
    assert cluster.most_jobs <= scenario.max_submit_jobs
    assert cluster.room == scenario.max_submit_jobs, "jobs are left"


@settings(max_examples=60, deadline=None)
@given(scenarios, st.sampled_from([None, 30.0]))
def test_every_trial_ends_once_and_no_job_of_ours_is_killed_at_its_limit(
    scenario: Scenario, trial_time_min: float | None
) -> None:
    # Workload refuses a trial that runs twice at once or after its end; Sweep.check compares it with the ledger.
    workload, cluster = ours.simulate(scenario, trial_time_min)
    check_accounts(scenario, workload, cluster)
    assert workload.count(None) == 0
    assert cluster.timeouts == 0


@settings(max_examples=30, deadline=None)
@given(scenarios, st.sampled_from([None, 1, 4]))
def test_every_trial_of_a_peer_ends_once(scenario: Scenario, count: int | None) -> None:
    scenario = replace(scenario, gpus_per_job=1)
    for workload, cluster in (peers.job_per_trial(scenario), peers.wandb_agent(scenario, count)):
        check_accounts(scenario, workload, cluster)
        assert workload.count(None) == 0


def test_a_seed_gives_the_same_course_every_time() -> None:
    def course(seed: int) -> tuple[float, float, float, int]:
        scenario = Scenario(seed=seed, trials=60, gpus=6, limit_s=DAY_S / 2, deaths_per_node_day=0.5)
        workload, cluster = ours.simulate(scenario)
        return workload.last_end_s, workload.worked_s, cluster.allocated_s, cluster.starts

    assert course(1) == course(1)
    assert course(1) != course(2)


def test_a_simulation_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    ours.simulate(replace(PLAIN, trials=1))
    assert dict(os.environ) == before


def test_agents_read_from_memory_what_the_ledger_has_on_disk(tmp_path: Path) -> None:
    ledger = SharedLedger(tmp_path, "agent-0", lambda: 0.0, [])
    Ledger.create(tmp_path, RECORD, "supervisor")
    for state, duration_s in (("finished", 60.0), ("failed", 70.0), ("finished", None), ("finished", 80.0)):
        ledger.record("ended", Trial(0, 0, "run"), state=state, duration_s=duration_s)
    on_disk = Durations(Ledger(tmp_path, "").reader())
    assert Durations(ledger.reader()).longest_s(1.0) == on_disk.longest_s(1.0) == 80.0
