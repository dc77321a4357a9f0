"""Everything a user can set below `hydra.sweeper`.

Hydra imports this module at the start of every Hydra app, so it imports nothing heavy. Annotations must be objects
here, not texts (`from __future__ import annotations`): Hydra executes the module before it is in sys.modules, where
dataclasses would look names up, and again if it was imported before, when a text would find the second MetricConf.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class MetricConf:
    """What the sweep optimises; W&B's `metric`."""

    # Name of the metric. A float returned by the task is recorded under it; of a returned mapping it is the key; a
    # task that returns None may log it with wandb.log. null = the sweep file's, else "objective". W&B: metric.name
    name: str | None = None
    # minimize | maximize. null = the sweep file's, else minimize. W&B: metric.goal
    goal: str | None = None


@dataclass
class WandbSweeperConf:
    """hydra/sweeper=wandb"""

    _target_: str = "hydra_plugins.hydra_wandb_sweeper.wandb_sweeper.WandbSweeper"

    # --- what is searched ---
    # grid | random | bayes. null = the sweep file's, else grid if every parameter lists its values, else random.
    # W&B: method
    method: str | None = None
    metric: MetricConf = field(default_factory=MetricConf)
    # Hydra key -> values: a Hydra sweep string ("1,2,3", "interval(0,1)"), a list, or a W&B parameter
    # ({min: 0, max: 1, distribution: uniform}). The command line wins over it. W&B: parameters
    params: Any = None  # OmegaConf 2.3 can't merge a mapping from the command line into a dict[…] | None that is null
    # Trials given one by one: a list of override lines (["model=small lr=0.1", "model=wide lr=0.01"], quoted as on a
    # command line) or the name of a file with a line per trial. They are combined with whatever else is swept.
    trials: Any = None
    # Path of a W&B sweep file (YAML), relative to the working directory. Weaker than everything else set here.
    sweep_file: str | None = None
    # Stop bad trials early, e.g. {type: hyperband, min_iter: 3}. null = the sweep file's, else none.
    # W&B: early_terminate
    early_terminate: Any = None  # see params
    # Most trials that are started. null = the sweep file's, else no limit (a grid ends by itself). W&B: run_cap
    run_cap: int | None = None
    # Whether a grid's combinations run in random order, so that a part of them tells something of every value.
    # Embedded server only.
    shuffle: bool = False
    # Seed of random search, `bayes` and `shuffle` (embedded server), and of shuffle(...). null = a new one for every
    # sweep.
    seed: int | None = None

    # --- where it is recorded ---
    # W&B user or team. null = the sweep file's, else the default of the login. W&B: entity
    entity: str | None = None
    # W&B project. null = the sweep file's, else the job name (hydra.job.name). W&B: project
    project: str | None = None
    # Display name of the sweep. null = the sweep file's, else the job name. W&B: name
    name: str | None = None
    # Text shown with the sweep. W&B: description
    description: str | None = None
    # Tags of every run. W&B: tags
    tags: list[str] = field(default_factory=list)
    # auto (W&B if a login is found, else local) | wandb | local (the embedded server) | a URL of a W&B server
    server: str = "auto"
    # Run the embedded server in a SLURM job of its own instead of on this machine: login nodes end long processes. It
    # takes 1 CPU, and is followed by another job after hydra.launcher.timeout_min (submitit_slurm only).
    server_job: bool = False
    # Join this sweep instead of making one: ID, PROJECT/ID, ENTITY/PROJECT/ID or the URL of its page.
    sweep_id: str | None = None

    # --- who does the work ---
    # Agents in all. null = as many as the launcher runs at a time (basic: 1, joblib: n_jobs, submitit_local: one per
    # CPU, submitit_slurm: has to be said), but never more than there are trials.
    agents: int | None = None
    # Agents side by side in one job of the launcher, sharing its resources.
    agents_per_job: int = 1
    # An agent ends after this many trials. null = no limit. W&B: wandb agent --count
    trials_per_agent: int | None = None
    # How trials are kept apart. fork: a process each, forked from the agent that has imported your code; spawn: a new
    # interpreter each (code that has initialised CUDA on import needs it); none: inside the agent (for debuggers).
    isolation: str = "fork"
    # For how many seconds a task that opens no W&B run itself is recorded without W&B's SDK, whose start takes longer
    # than many a trial (embedded server only). From then on it has system metrics too. 0 = the SDK from the start.
    sdk_after_s: float = 5.0
    # Run the code from a copy of what git tracks, made now; config files are always copied (submitit launchers only).
    snapshot_code: bool = False
    # Wait for the end of the sweep and report. false: submit the agents and return (submitit launchers only).
    wait: bool = True

    # --- what happens when something fails ---
    # How often a failed or killed trial is run again, under the same run id.
    max_retries: int = 1
    # Largest share of failed trials (retries used up), 0..1: beyond it the sweep is stopped and the exit status is 1.
    max_failure_rate: float = 0.5
    # How often agents that died are replaced without a trial ending in between, before the sweep is given up. The
    # waits between replacements grow from seconds to minutes.
    max_agent_restarts: int = 6
    # An agent that gives no sign of life for so many minutes hangs: its job is ended and replaced. It gives one every
    # few seconds, whatever its trial does, but none with isolation=none. null = for ever.
    agent_silence_min: float | None = 10.0
    # An agent in which this many trials fail in a row stops and hands them to others: its node may be broken.
    max_consecutive_failures: int = 5
    # How long an agent keeps asking a server that can't be reached before it gives up, in minutes.
    server_patience_min: float = 30.0

    # --- time limits of jobs ---
    # How long a trial takes, in minutes: near its job's time limit an agent begins none that would not finish. null =
    # as long as the longest that has finished.
    trial_time_min: float | None = None
    # Trials go on from where they were interrupted (they write checkpoints): agents begin one however little time is
    # left in their job, and another job goes on with it.
    resumable: bool = False


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="wandb",
    node=WandbSweeperConf,
    provider="hydra_wandb_sweeper",
)
