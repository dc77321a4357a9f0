"""What a terminal shows of a sweep whose agents are jobs, some of which wait in the queue."""

from __future__ import annotations

import re
import sys

from tests.slurm.cluster import CPUS_PER_NODE
from tests.slurm.conftest import SlurmProject, assert_all_finished_once
from tests.slurm.test_dispatch import values
from tests.terminal import in_terminal


def test_the_display_tells_agents_that_run_from_jobs_that_wait(project: SlurmProject) -> None:
    directory = project.directory / "sweep"
    env = {name: value for name, value in project.env.items() if name not in ("NO_COLOR", "JPY_PARENT_PID")}
    command = [
        sys.executable, "app.py", "-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={directory}",
        "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=30",
        f"hydra.launcher.cpus_per_task={CPUS_PER_NODE}", "hydra.sweeper.agents=6", values(12),
        "steps=6", "step_s=0.5",
    ]  # fmt: skip
    # The whole nodes that 6 jobs want are 4.
    row = r"agent-\d +\d+_\d +n\d +running +\d+ +\d+ s +(30 min|29 min \d+ s)"
    with in_terminal(command, str(project.directory), {**env, "TERM": "xterm"}) as process:
        process.read_until(
            lambda p: re.search(row, p.screen.text()) and re.search(r"agent-5 +\d+_5 +waiting", p.screen.text()),
            "agents that run, and jobs that wait",
        )
        assert process.wait(600) == 0, process.screen.text()
    assert_all_finished_once(project, directory, 12)
    assert "━" not in process.screen.text()
    assert process.screen.has_cursor
