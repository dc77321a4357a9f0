"""What a task may do with W&B, or leave undone: its run, its metric and its configuration are right in any case."""

from __future__ import annotations

import json

import pytest

from tests.integration.sweeper.conftest import Project

HEAD = """
import sys
import hydra
{imports}

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
{body}

if __name__ == "__main__":
    main()
"""

# What the task does -> (imports, its body). Each is to end with objective = x + 0.5.
BODIES: dict[str, tuple[str, str]] = {
    "returns a number": ("", "return cfg.x + 0.5"),
    "returns a number of NumPy": ("import numpy as np", "return np.float32(cfg.x + 0.5)"),
    "returns several numbers": ("", "return {'objective': cfg.x + 0.5, 'other': 7}"),
    "logs and returns nothing": (
        "import wandb",
        "run = wandb.init()\nfor step in range(3):\n    wandb.log({'objective': cfg.x + 2.5 - step})",
    ),
    "never finishes its run": ("import wandb", "wandb.init().log({'seen': cfg.x})\nreturn cfg.x + 0.5"),
    "finishes its run itself": (
        "import wandb",
        "wandb.init()\nwandb.log({'seen': cfg.x})\nwandb.finish()\nreturn cfg.x + 0.5",
    ),
    "uses its run as a context": (
        "import wandb",
        "with wandb.init() as run:\n    run.log({'seen': cfg.x})\nreturn cfg.x + 0.5",
    ),
    "has said everything itself": (
        "import wandb",
        "with wandb.init() as run:\n    run.log({'objective': cfg.x + 0.5})\nreturn cfg.x + 0.5",
    ),
    "imports wandb inside of the task": (
        "",
        "import wandb\nwith wandb.init(config={'mine': 1}) as run:\n    run.log({'seen': cfg.x})\nreturn cfg.x + 0.5",
    ),
    "names another project, entity, id and name": (
        "import wandb",
        "wandb.init(project='mine', entity='me', id='myid', name='my name')\nreturn cfg.x + 0.5",
    ),
    "gives its own config": (
        "import wandb\nfrom omegaconf import OmegaConf",
        "wandb.init(config=OmegaConf.to_container(cfg, resolve=True))\nreturn cfg.x + 0.5",
    ),
    "uses wandb in a helper that the task calls": ("from helper import track", "track(cfg)\nreturn cfg.x + 0.5"),
    # The calls that Lightning's WandbLogger makes (lightning.pytorch.loggers.wandb, 2.5).
    "logs as Lightning does": (
        "import wandb",
        "if wandb.run is None:\n"
        "    experiment = wandb.init(name=None, project='lightning_logs', dir='.', id=None, resume='allow',"
        " anonymous=None)\n"
        "else:\n    experiment = wandb.run\n"
        "experiment.define_metric('trainer/global_step')\n"
        "experiment.define_metric('*', step_metric='trainer/global_step', step_sync=True)\n"
        "experiment.config.update({'hparam': 3}, allow_val_change=True)\n"
        "for step in range(3):\n"
        "    experiment.log({'objective': cfg.x + 2.5 - step, 'trainer/global_step': step})",
    ),
}


def app(project: Project, imports: str, body: str) -> None:
    indented = "\n".join("    " + line for line in body.splitlines())
    (project.directory / "app.py").write_text(HEAD.format(imports=imports, body=indented))
    (project.directory / "helper.py").write_text(
        "def track(cfg):\n    import wandb\n    wandb.init().log({'seen': cfg.x})\n"
    )


@pytest.mark.parametrize("what", BODIES)
def test_whatever_a_task_does_with_wandb_its_run_is_the_trial_s(project: Project, what: str) -> None:
    app(project, *BODIES[what])
    sweep = project.sweep("x=1,2", "y=text", "hydra.sweeper.name=s")
    assert sweep.results["best_value"] == 1.5, sweep.output
    assert sweep.results["best_params"] == {"x": 1}
    runs = {run["id"]: run for run in project.runs()}
    assert sorted(runs) == sorted(row["run_id"] for row in sweep.trials)
    for row in sweep.trials:
        run = runs[row["run_id"]]
        assert run["state"] == "finished"
        assert run["summary"]["objective"] == int(row["x"]) + 0.5
        assert run["summary"].get("seen", int(row["x"])) == int(row["x"])
        assert run["config"]["x"] == int(row["x"])
        assert run["config"]["lr"] == 0.1
        assert run["config"]["model"] == {"name": "small", "offset": 0.25}
        assert not run["group"]


@pytest.mark.parametrize("isolation", ["fork", "spawn", "none"])
@pytest.mark.parametrize("what", ["never finishes its run", "finishes its run itself", "returns a number"])
def test_no_run_leaks_into_the_next_trial(project: Project, what: str, isolation: str) -> None:
    app(project, *BODIES[what])
    sweep = project.sweep("x=1,2,3", f"hydra.sweeper.isolation={isolation}")
    runs = {run["id"]: run for run in project.runs()}
    assert len(runs) == 3
    assert {runs[row["run_id"]]["summary"]["objective"] for row in sweep.trials} == {1.5, 2.5, 3.5}
    assert all(run["summary"].get("seen", run["config"]["x"]) == run["config"]["x"] for run in runs.values())


def test_an_exception_after_wandb_init_fails_the_run_with_its_traceback(project: Project) -> None:
    app(project, "import wandb", "wandb.init()\nwandb.log({'seen': 1})\nraise ValueError(f'no good: {cfg.x}')")
    sweep = project.sweep("x=1", "hydra.sweeper.max_retries=0", "hydra.sweeper.max_failure_rate=1.0", check=False)
    (run,) = project.runs()
    assert run["state"] == "failed"
    assert run["summary"]["trial_error"] == "ValueError: no good: 1"
    assert run["summary"]["seen"] == 1
    assert "ValueError: no good: 1" in (sweep.directory / "0" / "trial.log").read_text()


def test_offline_mode_in_the_environment_does_not_keep_trials_from_the_sweep(project: Project) -> None:
    app(project, *BODIES["never finishes its run"])
    sweep = project.sweep("x=1,2", WANDB_MODE="offline")
    assert {run["state"] for run in project.runs()} == {"finished"}
    assert sweep.results["best_value"] == 1.5


def test_a_task_without_wandb_gets_system_metrics_and_its_console_log(project: Project) -> None:
    app(
        project,
        "import time",
        "print('hello from Python')\nsys.stderr.write('and on stderr\\n')\ntime.sleep(0.1)\nreturn 1.0",
    )
    project.sweep("x=1")
    code = (
        "import wandb, json\n"
        "run = wandb.Api().runs('local/app')[0]\n"
        "log = run.file('output.log').download(replace=True, root='.').read()\n"
        "print('RESULT', json.dumps([log, list(run.system_metrics), [f.name for f in run.files()]]))"
    )
    line = next(line for line in project.python(code).splitlines() if line.startswith("RESULT "))
    log, metrics, files = json.loads(line.removeprefix("RESULT "))
    assert "hello from Python" in log
    assert "and on stderr" in log
    assert any(name.startswith("system.") for name in metrics)
    assert "wandb-metadata.json" in files


@pytest.mark.parametrize("value", ["'text'", "[1, 2]", "{'path': 'model.pt'}"])
def test_a_result_that_is_no_number_is_not_recorded_and_this_is_said(project: Project, value: str) -> None:
    app(project, "", f"return {value}")
    sweep = project.sweep("x=1")
    assert sweep.trials[0]["state"] == "finished"
    assert "The task returned" in (sweep.directory / "0" / "trial.log").read_text()
    assert "There is no best trial: none has a metric 'objective'" in sweep.output


def test_a_metric_that_is_no_number_fails_the_trial_with_the_rule(project: Project) -> None:
    app(project, "", "return {'loss': None}")
    arguments = (
        "x=1",
        "hydra.sweeper.metric.name=loss",
        "hydra.sweeper.max_retries=0",
        "hydra.sweeper.max_failure_rate=1.0",
    )
    sweep = project.sweep(*arguments, check=False)
    assert sweep.trials[0]["state"] == "failed"
    assert "The task returned None as 'loss'" in sweep.trials[0]["error"]
    assert "a task returns a number, a mapping of names to numbers, or None" in sweep.trials[0]["error"]
