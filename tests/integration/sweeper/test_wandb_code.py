"""What a task may do with W&B, or leave undone: its run, its metric and its configuration are right in any case."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.integration.sweeper.conftest import Project
from tests.integration.sweeper.test_command import answer

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
    "has its logger switched off": (
        "import wandb",
        "wandb.init(mode='disabled').log({'seen': cfg.x})\nreturn cfg.x + 0.5",
    ),
    "switches its logger off inside of the task": (
        "",
        "import wandb\nwandb.init(mode='disabled').log({'seen': cfg.x})\nreturn cfg.x + 0.5",
    ),
    "logs offline": ("import wandb", "wandb.init(mode='offline').log({'seen': cfg.x})\nreturn cfg.x + 0.5"),
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


NAMED = (
    "import wandb",
    "with wandb.init(name=f'mine {cfg.x}', group='ours', notes='about it', job_type='fit', tags=['good']) as run:\n"
    "    run.log({'seen': cfg.x})\n"
    "    run.tags += ('better',)\n"
    "return cfg.x + 0.5",
)


@pytest.mark.parametrize("where", ["at the top", "inside of the task"])
def test_what_a_task_calls_its_run_stays_when_its_result_is_recorded_after_the_run_s_end(
    project: Project, where: str
) -> None:
    imports, body = NAMED if where == "at the top" else ("", "import wandb\n" + NAMED[1])
    app(project, imports, body)
    # What the environment says is the task's default only.
    sweep = project.sweep("x=1,2", WANDB_NOTES="other", WANDB_RUN_GROUP="others", WANDB_TAGS="more")
    code = (
        "import wandb, json\n"
        "for r in wandb.Api().runs('local/app', order='+created_at'):\n"
        "    print('RESULT', json.dumps([r.name, r.group, r.job_type, r.notes, sorted(r.tags),"
        " r.summary['seen'], r.summary['objective']]))"
    )
    lines = [line.removeprefix("RESULT ") for line in project.python(code).splitlines() if line.startswith("RESULT ")]
    for x, line in enumerate(lines, start=1):
        *names, tags, seen, objective = json.loads(line)
        assert names == [f"mine {x}", "ours", "fit", "about it"]
        assert {"good", "better"} <= set(tags)
        assert (seen, objective) == (x, x + 0.5)
    assert [row["state"] for row in sweep.trials] == ["finished", "finished"]


def test_a_run_that_its_task_has_finished_was_one_trial_of_its_agent_all_the_time(project: Project) -> None:
    app(project, *BODIES["finishes its run itself"])
    sweep = project.sweep("x=1,2")
    (agent,) = page_data(project, sweep)["agents"]
    assert [(trial["run"], trial["how"]) for trial in agent["trials"]] == [
        (row["run_id"], "finished") for row in sweep.trials
    ]


def test_the_sdk_does_not_ask_a_server_without_accounts_who_is_logged_in(project: Project) -> None:
    app(project, *BODIES["uses its run as a context"])
    del project.env["WANDB_SILENT"]
    log = (project.sweep("x=1").directory / "0" / "trial.log").read_text()
    assert "W&B API key is configured" in log
    assert "logged in as" not in log
    assert f"View run at {project.server().url}" in log


def page_data(project: Project, sweep: Any) -> Any:
    """What the sweep's page shows."""
    address = project.server()
    entity, name, sweep_id = sweep.results["sweep_path"].split("/")
    url = f"{address.url}/page/data/{entity}/{name}/sweeps/{sweep_id}"
    answer = requests.get(url, auth=("api", address.api_key), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_sweep_s_metric_may_be_a_nested_one(project: Project) -> None:
    app(
        project,
        "import wandb",
        "run = wandb.init()\nrun.define_metric('val.acc', summary='max')\n"
        "for step in range(3):\n    run.log({'val': {'loss': cfg.x + 2.0 - step, 'acc': step % 2}})",
    )
    sweep = project.sweep("x=2,1", "hydra.sweeper.metric.name=val.loss")
    assert (sweep.results["best_value"], sweep.results["best_params"]) == (1.0, {"x": 1})
    name = sweep.results["sweep_path"]
    status = answer(project, "status", name)
    assert (status["best_value"], status["best_overrides"]) == (1.0, ["x=1"])


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


SILENT = (
    "import wandb",
    "import os\nprint('hello from Python')\nsys.stderr.write('and on stderr\\n')\n"
    "sys.stdout.flush()\nos.system('echo and from a subprocess')\nprint('café ' * 3)\n{end}",
)


def console_log(project: Project, run_id: str) -> tuple[str, str]:
    """A run's console log as its page shows it, and its file output.log."""
    address = project.server()
    key = ("api", address.api_key)
    shown = requests.get(f"{address.url}/page/data/local/app/runs/{run_id}/log", auth=key, timeout=30)
    code = (
        f"import wandb\nrun = wandb.Api().run('local/app/{run_id}')\n"
        "print(run.file('output.log').download(replace=True, root='.').read())"
    )
    return shown.text, project.python(code)


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
@pytest.mark.parametrize("end", ["return 1.0", "raise ValueError('no good')"])
def test_the_console_log_of_a_task_that_imports_wandb_and_opens_no_run_is_in_its_run(
    project: Project, isolation: str, end: str
) -> None:
    app(project, SILENT[0], SILENT[1].format(end=end))
    sweep = project.sweep(
        "x=1", f"hydra.sweeper.isolation={isolation}", "hydra.sweeper.max_retries=1",
        "hydra.sweeper.max_failure_rate=1.0", check=False,
    )  # fmt: skip
    attempts = 1 if end.startswith("return") else 2
    log = (sweep.directory / "0" / "trial.log").read_text()
    # The very words, each once: what is copied isn't printed again.
    assert log.count("hello from Python") == attempts
    # The SDK writes the file anew when it resumes a run.
    for text, count in zip(console_log(project, sweep.trials[0]["run_id"]), (attempts, 1), strict=True):
        for words in ("hello from Python", "and on stderr", "and from a subprocess", "café café café"):
            assert text.count(words) == count, text
        assert ("no good" in text) == (attempts == 2)


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
