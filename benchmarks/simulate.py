"""What a large sweep costs, simulated: 4,000 trials of 10 minutes to 10 hours under a time limit of two days.

No machine for tests has 1,000 GPUs and a week. So time is simulated, and with it SLURM's queue, the server and the
trials; but what decides is this project's own code, unchanged: its agents, supervisor, fleet and ledger run in it
(simulation/ours.py). Peers, each taken at its best (simulation/peers.py), run the same trials on the same cluster and
meet the same luck: a job per trial; `wandb agent` for one trial per job, for four (four of the longest fit into a
job), and without a limit, killed at the job's.

Assumptions, none of them measured: durations are log-uniform, so that as many trials take 10 to 20 minutes as take 5
to 10 hours, 2.4 hours on average. A job waits in the queue for a lognormal time with a median of 30 minutes and a
long tail (sigma 1.5: one in twenty waits for more than 5.9 hours, none for more than a day), as batch queues have;
waits of jobs that are submitted together pass side by side. A trial of mean length crashes with probability 0.02,
longer ones more often. A node dies 6.5 times in 1,000 days, of the order that large GPU clusters report. 300 jobs may
wait or run at a time (MaxSubmitJobs), arrays are split as the cluster wants it, and each agent has one GPU. Resumable
trials write a checkpoint every 15 minutes and when they are told that their job ends.

The makespan is the time until the last trial has ended. The ideal is what as many GPUs would need if nothing ever
waited or failed, and never less than the longest trial. Wasted are GPU hours within jobs that brought no finished
trial nearer to its end: work that is lost, and idling.

    python benchmarks/simulate.py            # ten to fifteen minutes on two cores
    python benchmarks/simulate.py --quick    # small sweeps, a few seconds
"""

from __future__ import annotations

import itertools
import logging
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import results
from simulation import ours, peers
from simulation.cluster import Cluster
from simulation.workload import DAY_S, HOUR_S, Scenario, Workload

PLUGIN = "this plugin"
PACKED = "this plugin, 4 agents per job"
MORE = "this plugin, 5 agents for 4 GPUs"
POLICIES: dict[str, Callable[[Scenario], tuple[Workload, Cluster]]] = {
    PLUGIN: ours.simulate,
    PACKED: lambda scenario: ours.simulate(replace(scenario, gpus_per_job=4)),
    MORE: lambda scenario: ours.simulate(replace(scenario, agents=scenario.gpus * 5 // 4)),
    "a job per trial": peers.job_per_trial,
    "wandb agent --count 1 per job": lambda scenario: peers.wandb_agent(scenario, 1),
    "wandb agent --count 4 per job": lambda scenario: peers.wandb_agent(scenario, 4),
    "wandb agent without a limit": lambda scenario: peers.wandb_agent(scenario, None),
}
# Shares of trials that are shorter than what is expected of the next one.
QUANTILES = (1.0, 0.95, 0.9, 0.75, 0.5, 0.0)


@dataclass(frozen=True)
class Case:
    """A row of a table. names: its first columns. trial_time_min: as in config.WandbSweeperConf, ours only."""

    names: Mapping[str, Any]
    policy: str
    scenario: Scenario
    trial_time_min: float | None = None


@dataclass(frozen=True)
class Course:
    """What came of one sweep, in hours and GPU hours."""

    makespan_h: float
    ideal_h: float
    useful_h: float
    allocated_h: float
    lost_work_h: float
    never_finish: int
    jobs: int


def run(case: Case, seed: int) -> Course:
    """One sweep."""
    logging.getLogger("hydra_plugins").setLevel(logging.CRITICAL)
    scenario = replace(case.scenario, seed=seed)
    if case.trial_time_min is None:
        workload, cluster = POLICIES[case.policy](scenario)
    else:
        workload, cluster = ours.simulate(scenario, case.trial_time_min)
    durations_s = [trial.duration_s for trial in workload.trials]
    return Course(
        makespan_h=workload.last_end_s / HOUR_S,
        ideal_h=max(sum(durations_s) / scenario.gpus, *durations_s) / HOUR_S,
        useful_h=workload.useful_s / HOUR_S,
        allocated_h=cluster.allocated_s / HOUR_S,
        lost_work_h=max(0.0, round((workload.worked_s - workload.useful_s) / HOUR_S, 6)),
        never_finish=scenario.trials - workload.count("finished"),
        jobs=cluster.starts,
    )


def row(case: Case, courses: Sequence[Course]) -> results.Row:
    """Medians of one case's sweeps."""

    def spread(figure: Callable[[Course], float]) -> dict[str, float]:
        return results.spread([figure(course) for course in courses])

    return {
        **case.names,
        "makespan (h)": spread(lambda c: c.makespan_h),
        "times the ideal": statistics.median(c.makespan_h / c.ideal_h for c in courses),
        "of the jobs' time useful (%)": statistics.median(100 * c.useful_h / c.allocated_h for c in courses),
        "of all agents' time useful (%)": statistics.median(
            100 * c.useful_h / (c.makespan_h * case.scenario.gpus) for c in courses
        ),
        "wasted (GPU h)": spread(lambda c: c.allocated_h - c.useful_h),
        "of which work (GPU h)": statistics.median(c.lost_work_h for c in courses),
        "trials that never finish": spread(lambda c: c.never_finish),
        "jobs started": statistics.median(c.jobs for c in courses),
    }


# --- tables ---


def policies(large: Scenario, agents: Sequence[int]) -> list[Case]:
    """All policies at all sizes. A job for four GPUs is only needed where there may be fewer jobs than agents."""
    return [
        Case(
            {"agents": count, "policy": policy, "resumable": resumable},
            policy,
            replace(large, gpus=count, resumable=resumable == "yes"),
        )
        for count, policy in itertools.product(agents, POLICIES)
        if policy != MORE and (policy != PACKED or count > large.max_submit_jobs)
        for resumable in resumables(policy)
    ]


def resumables(policy: str) -> tuple[str, ...]:
    """Whether trials can be resumed; all the same where nothing ever resumes one."""
    return ("either",) if policy.startswith("wandb agent") else ("no", "yes")


def expectations(small: Scenario) -> list[Case]:
    """What agents expect of the next trial when little time is left in their job."""
    situations = {
        "wait of 30 min": small,
        "wait of 4 h": replace(small, wait_median_s=4 * HOUR_S, wait_sigma=1.0),
        "lognormal durations": replace(small, durations="lognormal"),
    }
    cases = []
    for situation, scenario in situations.items():
        scenario = replace(scenario, crash_p=0.0, deaths_per_node_day=0.0)
        names = {"cluster": situation}
        cases.append(Case({**names, "expected": "the longest so far (default)"}, PLUGIN, scenario))
        for share in QUANTILES:
            expected = "nothing: always begin" if not share else f"what {share:.0%} of trials take"
            minutes = quantile_s(scenario, share) / 60
            cases.append(Case({**names, "expected": expected}, PLUGIN, scenario, minutes))
        cases.append(Case({**names, "expected": "resumable trials"}, PLUGIN, replace(scenario, resumable=True)))
    return cases


def quantile_s(scenario: Scenario, share: float) -> float:
    """How long a share of trials takes at most; 0 for none of them."""
    durations_s = sorted(replace(scenario, seed=0).duration_s(n) for n in range(1000))
    return scenario.longest_s if share == 1.0 else durations_s[int(share * 1000)] if share else 0.1


def queues(small: Scenario) -> list[Case]:
    """How much hangs on the queue, and on waits that pass side by side."""
    situations = {
        "none to speak of": {"wait_median_s": 60.0},
        "30 min": {},
        "4 h": {"wait_median_s": 4 * HOUR_S, "wait_sigma": 1.0},
        "30 min, begins when a GPU is free": {"ages_in_line": False},
    }
    return [
        Case({"wait": name, "policy": policy}, policy, replace(small, **changes))
        for name, changes in situations.items()
        for policy in POLICIES
        if policy != PACKED
    ]


def failures(small: Scenario) -> list[Case]:
    """A cluster on which much goes wrong."""
    rough = replace(small, crash_p=0.1, deaths_per_node_day=0.065)
    return [
        Case(
            {"resumable": "yes" if resumable else "no", "policy": policy}, policy, replace(rough, resumable=resumable)
        )
        for resumable in (False, True)
        for policy in POLICIES
        if policy != PACKED
    ]


NOTES = {
    "policies": "Median (least to largest) over seeds. A policy that loses trials has less to do: compare makespans "
    "with that in mind.",
    "expectations": "No failures, and not resumable unless it says so.",
    "queues": "Median wait of a job. It begins when a GPU is free where running jobs are limited, and those above "
    "the limit gain no priority meanwhile. With more agents than GPUs there are always jobs whose wait has passed.",
    "failures": "A trial of mean length crashes with probability 0.1, nodes die ten times as often. Makespans are "
    "shorter than the ideal where a tenth of the work is never done.",
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = results.parse(results.parser(__doc__), arguments)
    large, small = Scenario(), Scenario(trials=1000, gpus=25)
    agents = (80, 200, 400, 1000)
    if options.quick:
        large, small = (
            Scenario(trials=120, limit_s=DAY_S, max_submit_jobs=12),
            Scenario(trials=60, gpus=3, limit_s=DAY_S),
        )
        agents = (8, 20)
    cases = {
        "policies": policies(large, agents),
        "expectations": expectations(small),
        "queues": queues(small),
        "failures": failures(small),
    }
    with ProcessPoolExecutor() as pool:
        futures = {
            name: [[pool.submit(run, case, seed) for seed in range(options.repeat)] for case in listed]
            for name, listed in cases.items()
        }
        tables = []
        for name, listed in cases.items():
            rows = []
            for case, sweeps in zip(listed, futures[name], strict=True):
                rows.append(row(case, [future.result() for future in sweeps]))
                print(f"{name}: {' '.join(map(str, case.names.values()))}", file=sys.stderr)
            tables.append(results.Table(TITLES[name].format(large=large, small=small), rows, NOTES[name]))
    results.report(__file__, __doc__, options, tables)


TITLES = {
    "policies": "{large.trials:,} trials, by who runs them",
    "expectations": "{small.trials:,} trials on {small.gpus} agents, by what an agent expects of the next one",
    "queues": "{small.trials:,} trials on {small.gpus} agents, by the queue",
    "failures": "{small.trials:,} trials on {small.gpus} agents where much fails",
}


if __name__ == "__main__":
    main()
