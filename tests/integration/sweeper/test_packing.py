"""Several agents in one job: what each may use, and how they end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import yaml

from tests.integration.sweeper.conftest import Project
from tests.integration.sweeper.test_failures import events
from tests.unit.sweeper.test_isolation import is_alive
from tests.waiting import wait_for

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


def test_agents_die_with_their_job_s_process_and_each_trial_still_finishes_once(project: Project) -> None:
    process, directory = project.start(
        "x=1,2", "hydra/launcher=submitit_local", "hydra.sweeper.agents=2", "hydra.sweeper.agents_per_job=2",
        "behave=hang", "times=1",
    )  # fmt: skip
    wait_for(lambda: len(project.marks()) == 2, "both agents' trials run")
    agents = [event["pid"] for event in events(directory) if event["event"] == "agent_started"]
    (job,) = {Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1] for agent in agents}
    os.kill(int(job), signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, agents)), "the agents are gone")
    assert process.wait(timeout=180) == 0, (directory / "supervisor.log").read_text()
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    assert results["trials"]["finished"] == 2
    finished = [e["trial"] for e in events(directory) if e["event"] == "ended" and e["state"] == "finished"]
    assert sorted(finished) == [0, 1]
    marks = project.marks()
    assert list(marks) == ["1-0", "1-1", "2-0", "2-1"]
    assert (marks["1-0"], marks["2-0"]) == (marks["1-1"], marks["2-1"])
    assert {run["state"] for run in project.runs()} == {"finished"}
