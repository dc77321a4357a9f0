"""Sweeps from one command, end to end, through every launcher that needs no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from tests.integration.sweeper.conftest import Project
from tests.packages import WITHOUT_EXTRA

GRID = ("x=1,2", "model=small,wide")
LAUNCHERS = {
    "basic": (),
    "two agents in one job": ("hydra.sweeper.agents_per_job=2",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.sweeper.agents=2"),
    "spawn": ("hydra.sweeper.isolation=spawn",),
    "none": ("hydra.sweeper.isolation=none",),
}


@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS.keys())
def test_every_configuration_is_run_once_and_the_best_is_shown(project: Project, launcher: tuple[str, ...]) -> None:
    sweep = project.sweep(*GRID, *launcher)
    assert sorted(sweep.overrides()) == [[f"x={x}", f"model={m}"] for x in (1, 2) for m in ("small", "wide")]
    assert sorted(p.parent.name for p in sweep.directory.glob("*/.hydra")) == ["0", "1", "2", "3"]
    results = sweep.results
    assert results["name"] == "wandb"
    assert results["best_value"] == 1.25
    assert results["best_params"] == {"x": 1, "model": "small"}
    assert results["best_overrides"] == ["x=1", "model=small"]
    assert results["trials"] == {"finished": 4, "failed": 0, "stopped": 0, "running": 0, "queued": 0}
    assert yaml.safe_load((Path(results["best_dir"]) / ".hydra" / "overrides.yaml").read_text()) == [
        "x=1",
        "model=small",
    ]
    assert "Best objective: 1.25 (x=1 model=small)" in sweep.output
    assert (sweep.directory / "multirun.yaml").exists()
    states = [(int(row["number"]), row["state"], float(row["metric.objective"])) for row in sweep.trials]
    assert [state[:2] for state in states] == [(n, "finished") for n in range(4)]
    assert sorted(value for *_, value in states) == [1.25, 1.5, 2.25, 2.5]
    assert {run["state"] for run in project.runs()} == {"finished"}


def test_a_bayesian_sweep_runs_on_the_embedded_server(project: Project) -> None:
    sweep = project.sweep("x=interval(-1,1)", "hydra.sweeper.method=bayes", "hydra.sweeper.run_cap=3")
    xs = {float(row["x"]) for row in sweep.trials}
    assert (len(xs), {row["state"] for row in sweep.trials}) == (3, {"finished"})
    assert sweep.results["best_value"] == min(xs) + 0.25


def test_the_table_of_trials_has_everything_of_each(project: Project) -> None:
    sweep = project.sweep("x=1,2", "+state=3,4", "hydra.sweeper.metric.name=loss")
    row = sweep.trials[0]
    columns = "number run_id state x param.state metric.loss started duration_s attempts agent host directory error"
    assert list(row) == columns.split()
    assert (row["x"], row["param.state"], row["metric.loss"], row["state"]) == ("1", "3", "1.25", "finished")
    assert (row["agent"], row["attempts"], row["error"]) == ("agent-0", "1", "")
    assert float(row["duration_s"]) > 0
    assert datetime.fromisoformat(row["started"]).tzinfo is not None
    assert Path(row["directory"]) == sweep.directory / "0"


def test_the_results_are_returned_to_whoever_calls_the_sweeper(project: Project) -> None:
    (project.directory / "hydra_plugins").mkdir()  # Hydra takes sweepers from this namespace only
    (project.directory / "hydra_plugins" / "spy.py").write_text(
        "import json\n"
        "from hydra_plugins.hydra_wandb_sweeper.wandb_sweeper import WandbSweeper\n"
        "class Spy(WandbSweeper):\n"
        "    def sweep(self, arguments):\n"
        "        results = super().sweep(arguments)\n"
        "        with open('returned.json', 'w') as file:\n"
        "            json.dump([dict(results.summary), [dict(row) for row in results.trials]], file)\n"
        "        return results\n"
    )
    sweep = project.sweep("x=1,2", "hydra.sweeper._target_=hydra_plugins.spy.Spy", PYTHONPATH=str(project.directory))
    summary, rows = json.loads((project.directory / "returned.json").read_text())
    assert summary == sweep.results
    assert [row["run_id"] for row in rows] == [row["run_id"] for row in sweep.trials]


def test_one_line_says_where_the_data_is_and_how_to_use_wandb_instead(project: Project) -> None:
    output = project.sweep("x=1").output
    (line,) = [line for line in output.splitlines() if "embedded server" in line]
    assert str(project.directory / ".wandb_sweep_server") in line
    assert "wandb login" in line
    assert "hydra.sweeper.server=wandb" in line


def test_a_trial_s_output_is_in_its_directory_and_not_in_the_agent_s(project: Project) -> None:
    sweep = project.sweep("x=1,2")
    assert "says hello" not in sweep.output
    logs = sorted((path.parent.name, path.read_text()) for path in sweep.directory.glob("*/trial.log"))
    assert len(logs) == 2
    assert all("says hello" in text for _, text in logs)


def test_a_run_reads_well_and_holds_config_and_sweep(project: Project) -> None:
    project.sweep(*GRID, "lr=0.5", "y='a b'", "hydra.sweeper.tags=[one,two]", "hydra.sweeper.metric.name=loss")
    run = next(run for run in project.runs() if run["config"]["x"] == 2 and run["config"]["model"] == "wide")
    assert not run["group"], "W&B shows what has a group as one line"
    assert sorted(run["tags"]) == ["one", "two"]
    assert run["name"].endswith(": x=2,model=wide")
    assert run["summary"]["loss"] == 2.5
    config = run["config"]
    # The swept key is what the sweep says; the group it chose is beside it.
    assert config["model"] == "wide"
    assert config["model.offset"] == 0.5
    assert (config["lr"], config["y"], config["n"]) == (0.5, "a b", None)


def test_values_reach_the_task_with_their_types(project: Project) -> None:
    (project.directory / "app.py").write_text(
        "import hydra, json\nfrom omegaconf import OmegaConf\n"
        "@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(cfg):\n"
        "    with open('seen.jsonl', 'a') as f:\n"
        "        n = OmegaConf.to_container(cfg.n) if OmegaConf.is_config(cfg.n) else cfg.n\n"
        "        f.write(json.dumps(n) + '\\n')\n"
        "    return 0.0\n"
        "main()\n"
    )
    project.sweep("n=1,1.0,'1',true,'true',null,[1,2],{a:1.0},'a,b','${x}',1e-5,'it\\'s'")
    seen = (project.directory / "seen.jsonl").read_text().splitlines()
    assert sorted(seen) == sorted(
        ["1", "1.0", '"1"', "true", '"true"', "null", "[1, 2]", '{"a": 1.0}', '"a,b"', "0", "1e-05", '"it\'s"']
    )


def test_random_search_ends_at_run_cap_and_repeats_itself_by_seed(project: Project) -> None:
    arguments = ("lr=tag(log,interval(1e-5,1e-1))", "x=int(interval(1,5))", "hydra.sweeper.run_cap=3")
    first, second = (project.sweep(*arguments, "hydra.sweeper.seed=7") for _ in range(2))
    assert first.results["method"] == "random"
    assert sorted(first.overrides()) == sorted(second.overrides())
    for overrides in first.overrides():
        values = dict(text.split("=") for text in overrides)
        assert 1e-5 <= float(values["lr"]) <= 1e-1
        assert int(values["x"]) in range(1, 6)


def test_a_wandb_sweep_file_runs_as_it_is(project: Project) -> None:
    (project.directory / "sweep.yaml").write_text(
        "program: app.py\nmethod: grid\nmetric: {name: score, goal: maximize}\n"
        "parameters:\n  lr: {values: [1e-3, 1e-4]}\n  x: {value: 3}\n"
    )
    sweep = project.sweep("hydra.sweeper.sweep_file=sweep.yaml", "model=wide")
    assert sorted(sweep.overrides()) == [["lr=0.0001", "x=3", "model=wide"], ["lr=0.001", "x=3", "model=wide"]]
    assert sweep.results["metric"] == {"name": "score", "goal": "maximize"}


def test_custom_sweep_subdirectories_and_callbacks_work_as_in_any_multirun(project: Project) -> None:
    (project.directory / "my_callback.py").write_text(
        "from hydra.experimental.callback import Callback\n"
        "class Note(Callback):\n"
        "    def on_job_start(self, config, **kwargs):\n"
        "        open('notes', 'a').write(f'start {config.x}\\n')\n"
        "    def on_multirun_end(self, config, **kwargs):\n"
        "        open('notes', 'a').write('end\\n')\n"
    )
    sweep = project.sweep(
        "x=1,2",
        "hydra.sweep.subdir=${hydra.job.override_dirname}",
        "+hydra.callbacks.note._target_=my_callback.Note",
        PYTHONPATH=str(project.directory),
    )
    assert (sweep.directory / "x=1" / ".hydra").is_dir()
    assert (sweep.directory / "x=2" / ".hydra").is_dir()
    assert sorted((project.directory / "notes").read_text().split("\n")) == ["", "end", "start 1", "start 2"]


# --- refusals: nothing is created ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x=1,2", "hydra.sweeper.isolation=thread"), ["hydra.sweeper.isolation='thread'", "fork, spawn, none"]),
        (("x=1,2", "hydra.sweeper.nonsense=1"), ["Key 'nonsense' not in 'WandbSweeperConf'"]),
        (("x=1,2", "hydra.sweeper.wait=false"), ["hydra.sweeper.wait=False", "basic"]),
        (("lr=interval(0,1)",), ["hydra.sweeper.method", "never ends by itself", "run_cap"]),
        (("lr=interval(0,1)", "hydra.sweeper.method=grid"), ["method='grid'", "a grid can't list 'lr'"]),
        (("x=1,2", "hydra.sweeper.server=wandb"), ["hydra.sweeper.server='wandb'", "wandb login"]),
        (("lr=interval(0,1)", "hydra.sweeper.method=bayes"), ["method='bayes'", "run_cap"]),
        (("lrr=1,2",), ["lrr"]),
        (("model=small,wid",), ["Could not find 'model/wid'", "small"]),
        (("x=1,2", "hydra/launcher=submitit_slurm"), ["hydra.sweeper.agents"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_exists(
    project: Project, arguments: tuple[str, ...], words: list[str]
) -> None:
    sweep = project.sweep(*arguments, check=False)
    assert sweep.process.returncode == 1
    assert all(word in sweep.output for word in words), sweep.output
    assert not sweep.directory.exists()
    assert not (project.directory / ".wandb_sweep_server").exists()


def test_bayes_without_its_extra_says_what_to_install_before_any_agent_starts(project: Project) -> None:
    (project.directory / "sitecustomize.py").write_text(WITHOUT_EXTRA)
    arguments = ("lr=interval(0,1)", "hydra.sweeper.method=bayes", "hydra.sweeper.run_cap=3")
    sweep = project.sweep(*arguments, check=False, PYTHONPATH=str(project.directory))
    assert sweep.process.returncode == 1
    assert "pip install 'hydra-wandb-sweeper[optuna]'" in sweep.output
    assert "Traceback" not in sweep.output
    assert not (project.directory / "marks").exists()


def test_a_directory_that_holds_a_sweep_is_refused_before_another_sweep_is_made(project: Project) -> None:
    first = project.sweep("x=1,2")
    second = project.run("-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={first.directory}", "x=3", check=False)
    assert second.returncode == 1
    assert f"hydra.sweep.dir={first.directory}" in second.stderr
    count = "import wandb; print('COUNT', len(wandb.Api().project('app', 'local').sweeps()))"
    assert "COUNT 1" in project.python(count)
    assert len(project.runs()) == 2


def test_more_agents_than_the_launcher_can_run_says_so(project: Project) -> None:
    sweep = project.sweep("x=1", "hydra.sweeper.agents=4", "hydra.sweeper.run_cap=4", "hydra.sweeper.method=random")
    assert "runs jobs one after another" in sweep.output


def test_no_credential_is_in_anything_that_a_sweep_writes(project: Project) -> None:
    sweep = project.sweep("x=1,2", "hydra/launcher=submitit_local", "hydra.sweeper.agents=2")
    key = project.server().api_key.encode()
    written = [path for path in sweep.directory.rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in written)
    assert not [path for path in written if key in path.read_bytes()]
    assert key.decode() not in sweep.output


def test_the_settings_are_shown_by_hydra(project: Project) -> None:
    shown = yaml.safe_load(project.run("hydra/sweeper=wandb", "--cfg", "hydra", "-p", "hydra.sweeper").stdout)
    assert shown["metric"] == {"name": None, "goal": None}
    assert shown["isolation"] == "fork"


# --- W&B's own tools on the same sweep ---


def test_wandb_s_own_agent_runs_the_same_configurations(project: Project) -> None:
    arguments = ("n=null,[1,2],'a,b'", "lr=1.0", "~y")
    config = project.directory / "conf" / "config.yaml"
    config.write_text(config.read_text() + "hydra: {sweeper: {trials: ['times=3 \"+z=[1, ${lr}]\"']}}\n")
    ours = project.sweep(*arguments)
    # A second sweep of the same space, left to W&B's agent.
    process, directory = project.start(*arguments, "hydra.sweeper.trials_per_agent=1")
    process.wait(timeout=120)
    path = yaml.safe_load((directory / "optimization_results.yaml").read_text())["sweep_path"]
    bin_dir = str(Path(sys.executable).parent)
    env = {**project.wandb_env(), "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}"}
    wandb = [sys.executable, "-m", "wandb", "agent", path]
    done = subprocess.run(wandb, cwd=project.directory, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = [
        yaml.safe_load(p.read_text()) for p in project.directory.glob("outputs/wandb/*/*/.hydra/overrides.yaml")
    ]
    own = [yaml.safe_load(p.read_text()) for p in directory.glob("*/.hydra/overrides.yaml")]
    assert sorted(map(str, theirs + own)) == sorted(map(str, ours.overrides()))
    # Nobody names the runs of W&B's agent.
    runs = [run for run in project.runs() if run["name"] == run["id"]]
    assert len(runs) == 2
    assert all(run["state"] == "finished" and run["summary"]["objective"] == 0.25 for run in runs)


@pytest.mark.parametrize("form", ["{id}", "app/{id}", "local/app/{id}", "{url}/local/app/sweeps/{id}"])
def test_a_sweep_made_elsewhere_can_be_joined(project: Project, form: str) -> None:
    project.sweep("x=1")  # starts the server
    config = {
        "method": "grid",
        "metric": {"name": "val", "goal": "minimize"},
        "parameters": {"model": {"values": ["small", "wide"]}, "x": {"value": 4}},
    }
    out = project.python(f"import wandb; print('ID', wandb.sweep({config!r}, project='app'))")
    sweep_id = next(line.split()[1] for line in out.splitlines() if line.startswith("ID "))
    path = form.format(id=sweep_id, url=project.server().url)
    sweep = project.sweep(f"hydra.sweeper.sweep_id='{path}'", "lr=0.7")
    assert sorted(sweep.overrides()) == [["lr=0.7", "model=small", "x=4"], ["lr=0.7", "model=wide", "x=4"]]
    assert sweep.results["best_value"] == 4.25
    assert sweep.results["metric"]["name"] == "val"


def test_nested_parameters_of_a_joined_sweep_are_dotted_keys(project: Project) -> None:
    project.sweep("x=1")
    config = {"method": "grid", "parameters": {"model": {"parameters": {"offset": {"values": [1.0, 2.5]}}}}}
    out = project.python(f"import wandb; print('ID', wandb.sweep({config!r}, project='app'))")
    sweep_id = next(line.split()[1] for line in out.splitlines() if line.startswith("ID "))
    sweep = project.sweep(f"hydra.sweeper.sweep_id={sweep_id}")
    assert len(sweep.overrides()) == 2
    assert sorted(float(o[0].removeprefix("model.offset=")) for o in sweep.overrides()) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("argument", "words"),
    [("lr=1,2", "fix other keys only"), ("x=3", "fix other keys only")],
)
def test_joining_and_sweeping_at_once_is_refused(project: Project, argument: str, words: str) -> None:
    first = project.sweep("x=1,2", "hydra.sweeper.trials_per_agent=1")
    sweep = project.sweep(f"hydra.sweeper.sweep_id={first.results['sweep_id']}", argument, check=False)
    assert sweep.process.returncode == 1
    assert words in sweep.output


def test_joining_a_sweep_that_is_not_there_says_where_it_was_looked_for(project: Project) -> None:
    project.sweep("x=1")
    sweep = project.sweep("hydra.sweeper.sweep_id=me/proj/nope", check=False)
    assert sweep.process.returncode == 1
    assert "me/proj/nope" in sweep.output
    assert "no such sweep" in sweep.output


def test_joining_a_sweep_that_has_ended_is_refused_with_what_to_do_instead(project: Project) -> None:
    ended = project.sweep("x=1")
    sweep = project.sweep(f"hydra.sweeper.sweep_id={ended.results['sweep_id']}", check=False)
    assert sweep.process.returncode == 1
    assert "the sweep is finished, and nothing is left to run; leave sweep_id out" in sweep.output
