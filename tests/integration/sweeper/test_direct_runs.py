"""Tasks without W&B code are recorded without W&B's SDK, and nobody can tell."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.integration.server.client import Client
from tests.integration.sweeper.conftest import Project, Sweep, make_project

APP = """
import logging, os, subprocess, sys, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    seen = Path(HydraConfig.get().runtime.output_dir, "seen")
    print(f"x={cfg.x} says hello")
    print("an error", file=sys.stderr)
    log.info("logged")
    for i in range(3):
        print(f"\\rprogress {i}", end="")
    print()
    print("\\x1b[31mred\\x1b[0m\\ttabs  ")
    print("no newline", end="")
    if cfg.behave == "raise":
        raise ValueError(f"x={cfg.x} is no good")
    if cfg.behave == "raise once" and not seen.exists():
        seen.touch()
        raise ValueError("not yet")
    if cfg.behave == "exit":
        sys.exit(3)
    if cfg.behave == "interrupt":
        raise KeyboardInterrupt
    if cfg.behave == "nothing":
        return None
    if cfg.behave == "nan":
        return float("nan")
    if cfg.behave == "several":
        return {"loss": 0.5, "acc": 1, "inf": float("inf")}
    if cfg.behave == "sleep":
        time.sleep(cfg.lr)
        print("after sleeping")
    return float(cfg.x)


if __name__ == "__main__":
    main()
"""
# All that W&B's public API tells of a run, and the console log, which only GraphQL does.
LOOK = """
import json, wandb
api = wandb.Api()
found = []
for run in api.runs("local/app", filters={"sweep": %r}):
    files = {}
    for file in run.files():
        with file.download("down/" + run.id, replace=True) as opened:
            files[file.name] = opened.read()
    found.append(dict(
        name=run.name, state=run.state, group=run.group, tags=run.tags, notes=run.notes, job_type=run.job_type,
        config=dict(run.config), raw_config=json.loads(run.json_config),
        summary=json.loads(json.dumps(dict(run.summary), default=dict)),
        history=[dict(row) for row in run.scan_history()], files=files, metadata=run.metadata, commit=run.commit,
        created=run.created_at, heartbeat=run.heartbeat_at, host=(run.metadata or {}).get("host"),
        user=str(run.user), id=run.id, description=run.description, last_step=run.lastHistoryStep))
print("RESULT", json.dumps(found, default=str))
"""
# What only GraphQL tells.
DETAILS = """
query D($project: String!, $run: String!) {
  project(name: $project) { run(name: $run) {
    exitcode host program repo commit jobType notes description displayName sweepName historyLineCount
    streamLines(stream: "log", offset: 0, first: 1000) { number text }
  } }
}
"""
MACHINE = ("disk", "memory", "cpu", "cpu_count", "cpu_count_logical")
BEHAVIOURS = ["null", "raise", "raise once", "exit", "interrupt", "nothing", "nan", "several"]
SDK, DIRECT = "0", "60"


@dataclass
class Runs:
    """The same sweep's runs, recorded both ways: what is seen of each, by what its task did."""

    with_sdk: dict[str, dict[str, Any]]
    direct: dict[str, dict[str, Any]]


def runs_of(project: Project, sweep: Sweep) -> list[dict[str, Any]]:
    """All that can be seen of a sweep's runs."""
    sweep_id = json.loads((sweep.directory / ".sweep" / "sweep.json").read_text())["sweep"]["sweep_id"]
    out = project.python(LOOK % sweep_id)
    line = next(line for line in out.splitlines() if line.startswith("RESULT "))
    found: list[dict[str, Any]] = json.loads(line.removeprefix("RESULT "))
    client = Client(project.server())
    for run in found:
        run["details"] = client.graphql(DETAILS, project="app", run=run["id"])["project"]["run"]
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A sweep over all behaviours, with and without the SDK."""
    project = make_project(tmp_path_factory.mktemp("both"))
    (project.directory / "app.py").write_text(APP)
    git = ["git", "-c", "user.email=a@b.c", "-c", "user.name=n"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=project.directory, env=project.env, check=True)
    remote = ["remote", "add", "origin", "https://me:secret@example.com/a/b.git"]
    subprocess.run(["git", *remote], cwd=project.directory, env=project.env, check=True)
    project.env |= {"SLURM_CLUSTER_NAME": "here", "WANDB_NOTES": "some notes", "WANDB_JOB_TYPE": "train"}
    values = ",".join(f"'{behaviour}'" if " " in behaviour else behaviour for behaviour in BEHAVIOURS)
    try:
        seen = []
        for after_s in (SDK, DIRECT):
            sweep = project.sweep(
                f"behave={values}", "x=2", "model=wide", "+deep.list=[1,{a:2}]",
                f"hydra.sweeper.sdk_after_s={after_s}",
                "hydra.sweeper.tags=[one,two]", "hydra.sweeper.max_failure_rate=1.0",
                "hydra.sweeper.max_consecutive_failures=99",
            )  # fmt: skip
            runs = runs_of(project, sweep)
            seen.append({str(run["config"]["behave"]).strip("'"): comparable(run, sweep) for run in runs})
            used = {path.parent.parent.name for path in sweep.directory.glob("*/wandb/run-*")}
            assert len(used) == (len(BEHAVIOURS) if after_s == SDK else 0)
        yield Runs(*seen)
    finally:
        project.end()


def comparable(run: dict[str, Any], sweep: Sweep) -> dict[str, Any]:
    """A run without what differs between any two runs: names, times, places."""
    run, details = dict(run), dict(run["details"])
    assert run.pop("created") <= run.pop("heartbeat")
    run["details"] = details
    details.pop("sweepName")
    lines = [line["text"] for line in details.pop("streamLines")]
    is_error = [line.startswith("ERROR ") for line in lines]
    texts = [_untimed(re.sub(r"^(ERROR )?[0-9T:.-]{26} ", "", line)) for line in lines]
    # The SDK takes what is printed at the same time in any order.
    run["log"] = [[t for t, error in zip(texts, is_error, strict=True) if error is kind] for kind in (False, True)]
    for row in [run["summary"], *run["history"]]:
        for key in ("_timestamp", "_runtime"):
            if key in row:
                row[key] = type(row[key]) in (int, float)
    assert type(run["summary"]["_wandb"].pop("runtime")) is int
    run["raw_config"].pop("_wandb")
    files = run["files"]
    machine: dict[str, Any] = {}
    run["machine"] = machine
    run["metadata"] = _metadata(run["metadata"], sweep, machine)
    files["wandb-metadata.json"] = _metadata(json.loads(files["wandb-metadata.json"]), sweep, machine)
    files["wandb-summary.json"] = sorted(json.loads(files["wandb-summary.json"]))
    files["output.log"] = [_untimed(line) for line in files["output.log"].splitlines()]
    files["config.yaml"] = config = yaml.safe_load(files["config.yaml"])
    own = config["_wandb"]["value"]
    # What of the SDK was used.
    assert own.pop("t")["5"]
    own["e"] = [_metadata(writer, sweep, machine) for writer in own["e"].values()]
    run.pop("id")
    return run


def _untimed(line: str) -> str:
    return re.sub(r"^\[\d{4}-[^]]*\]", "[]", line)


def _metadata(metadata: dict[str, Any], sweep: Sweep, machine: dict[str, Any]) -> dict[str, Any]:
    """The metadata without times and places, and without what is said of the machine, which goes into `machine`: the
    SDK looks at that beside the task, and may be late for a short one."""
    metadata = dict(metadata)
    assert metadata.pop("startedAt")
    assert metadata.pop("writerId")
    run_machine = {name: metadata.pop(name) for name in MACHINE if name in metadata}
    if "disk" in run_machine:
        assert int(run_machine["disk"]["/"].pop("used")) > 0
    machine.update(run_machine)
    assert metadata.pop("root").startswith(str(sweep.directory))
    metadata["args"] = [arg for arg in metadata["args"] if "sdk_after_s" not in arg and "sweep.dir" not in arg]
    return metadata


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_run_looks_the_same_without_the_sdk(both: Runs, behaviour: str) -> None:
    direct, with_sdk = both.direct[behaviour], both.with_sdk[behaviour]
    with_sdk = {**with_sdk, "machine": {**direct["machine"], **with_sdk["machine"]}}
    for part in with_sdk:
        assert direct[part] == with_sdk[part], part
    assert direct == with_sdk


def test_the_password_of_a_git_remote_is_not_recorded(both: Runs) -> None:
    assert "secret" not in json.dumps(both.direct)
    assert both.direct["several"]["details"]["repo"] == "https://me:@example.com/a/b.git"
