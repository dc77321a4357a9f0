"""Several agents in one job: what each may use."""

from __future__ import annotations

import json
import os

from tests.integration.sweeper.conftest import Project

# A trial waits for the other one: each agent runs one of the two.
APP = """
import json, os, time
from pathlib import Path
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    seen = {"cpus": sorted(os.sched_getaffinity(0)), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
    part = Path(f"part-{cfg.x}")
    part.write_text(json.dumps(seen))
    part.rename(f"seen-{cfg.x}.json")
    deadline = time.monotonic() + 60
    while len(list(Path().glob("seen-*.json"))) < 2:
        assert time.monotonic() < deadline, "the other agent has no trial"
        time.sleep(0.05)
    return 0.0


if __name__ == "__main__":
    main()
"""


def test_agents_of_a_job_divide_its_gpus_and_cpus_and_the_log_says_how(project: Project) -> None:
    (project.directory / "app.py").write_text(APP)
    sweep = project.sweep("x=1,2", "hydra.sweeper.agents_per_job=2", CUDA_VISIBLE_DEVICES="0,1,2,3")
    seen = [json.loads(path.read_text()) for path in project.directory.glob("seen-*.json")]
    assert sorted(trial["gpus"] for trial in seen) == ["0,1", "2,3"]
    cpus, all_cpus = [set(trial["cpus"]) for trial in seen], os.sched_getaffinity(0)
    assert set().union(*cpus) == all_cpus
    assert len(all_cpus) < 2 or not cpus[0] & cpus[1]
    for agent, gpus in (("agent-0-0", "0,1"), ("agent-0-1", "2,3")):
        (line,) = [line for line in sweep.output.splitlines() if f"Agent {agent}: " in line]
        assert f"GPUs {gpus} (CUDA_VISIBLE_DEVICES), " in line
        assert "CPU" in line.partition("), ")[2]


def test_an_agent_alone_in_its_job_has_all_of_it(project: Project) -> None:
    (project.directory / "app.py").write_text(APP)
    # Two jobs, one after the other's trial began.
    project.sweep("x=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", CUDA_VISIBLE_DEVICES="0,1")
    seen = [json.loads(path.read_text()) for path in project.directory.glob("seen-*.json")]
    assert seen == [{"cpus": sorted(os.sched_getaffinity(0)), "gpus": "0,1"}] * 2
