"""report.html and `hydra-sweep export` of real sweeps: from the sweep directory, and from the server alone."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import SweepClient, SweepRef
from hydra_plugins.hydra_wandb_sweeper._report_data import server_data
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess
from tests.integration.sweeper.conftest import Project, Sweep, make_project
from tests.integration.sweeper.test_command import APP as GATED_APP
from tests.integration.sweeper.test_command import answer, begun, command, go
from tests.integration.sweeper.test_wandb_code import page_data
from tests.unit.sweeper.test_report_html import read
from tests.waiting import wait_for

APP = """
import hydra
import wandb


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    run = wandb.init()
    for step in range(5):
        run.log({"loss": cfg.x / (step + 1), "acc": step / 10, "val": {"loss": cfg.x + step, "note": "text"}})
    if cfg.model.name == "wide" and cfg.x == 2:
        raise ValueError("</script><script>alert('no good')</script>")


if __name__ == "__main__":
    main()
"""


def data_in(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Sweep data and histories of a report."""
    scripts = read(path.read_text(encoding="utf-8")).scripts
    return json.loads(scripts[0]), json.loads(scripts[1])


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Sweep]]:
    """A sweep of four trials that log a curve each; one fails."""
    project = make_project(tmp_path_factory.mktemp("report"))
    (project.directory / "app.py").write_text(APP)
    sweep = project.sweep(
        "x=1,2", "model=small,wide", "hydra.sweeper.metric.name=loss", "hydra.sweeper.max_retries=0",
        "hydra.sweeper.name=my sweep", "hydra.sweeper.description=about it",
    )  # fmt: skip
    yield project, sweep
    project.end()


@pytest.fixture(scope="module")
def reports(logged: tuple[Project, Sweep]) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What is in the report of the same sweep: that of its end, of its directory, and of the server's runs."""
    project, sweep = logged
    path = sweep.results["sweep_path"]
    made = answer(project, "report", str(sweep.directory), "--output", "of-directory.html")
    assert made == {"report": "of-directory.html", "notes": []}
    assert answer(project, "report", path)["report"] == f"report-{path.split('/')[-1]}.html"
    files = {
        "end": sweep.directory / "report.html",
        "directory": project.directory / "of-directory.html",
        "server": project.directory / f"report-{path.split('/')[-1]}.html",
    }
    return {name: data_in(file) for name, file in files.items()}


def test_a_sweep_that_has_ended_leaves_a_report(logged: tuple[Project, Sweep], reports: Any) -> None:
    _, sweep = logged
    assert f"Report: {sweep.directory / 'report.html'}" in sweep.output
    data, histories = reports["end"]
    assert (data["sweep"]["name"], data["sweep"]["description"]) == ("my sweep", "about it")
    assert (data["sweep"]["state"], data["sweep"]["expected"]) == ("FINISHED", 4)
    assert data["runs"]["parameters"] == {"x": [1, 1, 2, 2], "model": ["small", "wide"] * 2}
    assert data["runs"]["state"] == ["finished", "finished", "finished", "failed"]
    assert data["runs"]["reason"][3] == "ValueError: </script><script>alert('no good')</script>"
    assert data["runs"]["metrics"]["loss"] == [0.2, 0.2, 0.4, 0.4]
    (agent,) = data["agents"]
    assert [trial["how"] for trial in agent["trials"]] == ["finished", "finished", "finished", "failed"]
    assert agent["ended"] == "finished"
    assert histories[0]["key"] == "loss"
    assert {run["id"]: run["values"] for run in histories[0]["runs"]}[data["runs"]["id"][2]] == [
        pytest.approx(2 / (step + 1)) for step in range(5)
    ]


def test_nested_metrics_have_one_name_on_the_page_in_the_report_and_in_tables(
    logged: tuple[Project, Sweep], reports: Any
) -> None:
    project, sweep = logged
    expected = {"loss": [0.2, 0.2, 0.4, 0.4], "acc": [0.4] * 4, "val.loss": [5, 5, 6, 6]}
    for where, (data, histories) in reports.items():
        assert data["runs"]["metrics"] == expected, where
        curves = next(one for one in histories if one["key"] == "val.loss")["runs"]
        assert sorted(curve["values"][0] for curve in curves) == [1, 1, 2, 2], where
    assert page_data(project, sweep)["runs"]["metrics"] == expected
    assert [float(row["metric.val.loss"]) for row in sweep.trials] == expected["val.loss"]
    exported = json.loads(command(project, "export", sweep.results["sweep_path"], "--format", "json").stdout)
    assert [row["metric.val.loss"] for row in exported] == expected["val.loss"]


def test_the_command_makes_the_same_report_of_the_directory(reports: Any) -> None:
    (end, end_histories), (data, histories) = reports["end"], reports["directory"]
    end["sweep"].pop("now"), data["sweep"].pop("now")
    places = end.pop("places")
    assert data == end, "and no links: it doesn't lie beside the trials' directories"
    assert places == {
        "directory": [f"./{number}/" for number in range(4)],
        "log": "trial.log",
        "config": ".hydra/config.yaml",
    }
    assert histories == end_histories


def test_the_server_alone_tells_the_same(logged: tuple[Project, Sweep], reports: Any) -> None:
    (ours, our_histories), (theirs, their_histories) = reports["directory"], reports["server"]
    for name in ("id", "name", "state", "reason", "parameters", "metrics"):
        assert theirs["runs"][name] == ours["runs"][name], name
    for name in (
        "entity",
        "project",
        "id",
        "name",
        "description",
        "url",
        "state",
        "method",
        "metric",
        "expected",
        "config",
    ):
        assert theirs["sweep"][name] == ours["sweep"][name], name
    assert theirs["parameters"] == ours["parameters"]
    assert theirs["importance"] == ours["importance"]
    assert their_histories == our_histories
    assert all(host for host in theirs["runs"]["host"])
    # To the embedded server times begin when it has handed a run out.
    page = page_data(logged[0], logged[1])
    assert theirs["agents"] == page["agents"]
    assert [facts_of(agent) for agent in theirs["agents"]] == [facts_of(agent) for agent in ours["agents"]]
    assert theirs["runs"]["agent"] == ours["runs"]["agent"]
    for name in ("began_at", "ended_at", "duration_s"):
        assert theirs["runs"][name] == page["runs"][name], name
    assert all(duration > 0 for duration in theirs["runs"]["duration_s"])


def facts_of(agent: dict[str, Any]) -> Any:
    """What everybody knows of an agent in the same words."""
    return (
        agent["name"],
        agent["job"],
        agent["host"],
        agent["ended"],
        [(trial["run"], trial["how"]) for trial in agent["trials"]],
    )


def test_a_server_that_tells_nothing_of_agents_has_exact_durations_still(
    logged: tuple[Project, Sweep], reports: Any
) -> None:
    project, sweep = logged
    address = project.server()
    client = SweepClient(lambda: ServerAccess(address.url, address.url, address.api_key), patience_s=0)
    ref = SweepRef(*sweep.results["sweep_path"].split("/"))
    info = client.get_sweep(ref)
    assert info is not None
    data = server_data(info, "", client.sweep_runs(ref), 0.0)
    assert (data["agents"], data["knows_agents"]) == ([], False)
    exact = page_data(project, sweep)["runs"]["duration_s"]
    # Between a run's hand-out and its creation's time there is nothing.
    assert data["runs"]["duration_s"] == pytest.approx(exact, abs=0.05)


def test_hostile_words_of_a_run_stay_data(logged: tuple[Project, Sweep]) -> None:
    _, sweep = logged
    text = (sweep.directory / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert read(text).tags.count("script") == 4


def test_export_of_the_directory_is_trials_csv(logged: tuple[Project, Sweep]) -> None:
    project, sweep = logged
    (project.directory / "own.csv").unlink(missing_ok=True)
    command(project, "export", str(sweep.directory), "--format", "csv", "--output", "own.csv")
    assert (project.directory / "own.csv").read_bytes() == (sweep.directory / "trials.csv").read_bytes()
    printed = command(project, "export", str(sweep.directory)).stdout
    assert list(csv.DictReader(io.StringIO(printed))) == sweep.trials


def test_export_as_parquet_is_read_by_other_programs(logged: tuple[Project, Sweep]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    project, sweep = logged
    command(project, "export", str(sweep.directory), "--output", "trials.parquet")
    table = parquet.read_table(project.directory / "trials.parquet")
    ours = json.loads(command(project, "export", str(sweep.directory), "--format", "json").stdout)
    assert table.column("x").to_pylist() == [row["x"] for row in ours]
    assert table.column("metric.loss").to_pylist() == [row["metric.loss"] for row in ours]


def test_export_of_the_server_s_runs_has_the_same_values(logged: tuple[Project, Sweep]) -> None:
    project, sweep = logged
    ours = json.loads(command(project, "export", str(sweep.directory), "--format", "json").stdout)
    theirs = json.loads(command(project, "export", sweep.results["sweep_path"], "--format", "json").stdout)
    assert list(theirs[0]) == list(ours[0])
    for name in ("number", "run_id", "state", "x", "model", "metric.loss", "metric.acc", "agent", "error"):
        assert [row[name] for row in theirs] == [row[name] for row in ours], name
    assert [row["x"] for row in ours] == [1, 1, 2, 2]
    assert ours[0]["error"] is None


def test_a_report_of_a_sweep_that_runs_says_so_and_one_without_its_server_lacks_curves(project: Project) -> None:
    (project.directory / "app.py").write_text(GATED_APP)
    process, directory = project.start("x=1,2", "hydra/launcher=submitit_local", "hydra.sweeper.agents=2")
    begun(project, 2)
    go(project, 1)
    wait_for(lambda: answer(project, "status", str(directory))["trials"]["finished"] == 1, "one has finished")
    assert not (directory / "report.html").exists()
    answer(project, "report", str(directory))
    data, _ = data_in(directory / "report.html")
    assert data["sweep"]["state"] == "RUNNING"
    assert sorted(data["runs"]["state"]) == ["finished", "running"]
    assert None in [agent["ended"] for agent in data["agents"]]
    go(project, 2)
    assert process.wait(timeout=60) == 0
    server = project.server().pid
    os.kill(server, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{server}").exists(), "the server has ended")
    done = command(project, "report", str(directory), "--json")
    (note,) = json.loads(done.stdout)["notes"]
    assert note.startswith("The report lacks curves of metrics: ")
    assert note in done.stderr
    data, histories = data_in(directory / "report.html")
    assert (data["runs"]["state"], histories) == (["finished", "finished"], [])
    assert any("lacks curves" in text for text in read((directory / "report.html").read_text()).texts)


def test_a_best_run_that_was_deleted_at_the_server_is_said_to_be_gone(project: Project) -> None:
    sweep = project.sweep("x=1,2")
    directory, best = str(sweep.directory), sweep.results["best_run_id"]
    said = f"The best trial's run {best} isn't at the server any more; the sweep directory still has its results."
    assert said not in command(project, "status", directory).stdout
    assert answer(project, "report", directory)["notes"] == []
    project.python(f"import wandb; wandb.Api().run('local/app/{best}').delete()")
    assert said in command(project, "status", directory).stdout
    assert answer(project, "status", directory)["notes"] == [said]
    assert answer(project, "report", directory)["notes"] == [said]
    assert html.escape(said) in (sweep.directory / "report.html").read_text()


def test_commands_answer_in_an_encoding_that_lacks_the_characters(project: Project, tmp_path: Path) -> None:
    sweep = project.sweep("y='\u03bb','\u03bc'")
    western = Project(project.directory, {**project.env, "PYTHONIOENCODING": "latin-1"})
    assert "y='\u03bb'" in command(project, "status", str(sweep.directory)).stdout
    assert r"y='\u03bb'" in command(western, "status", str(sweep.directory)).stdout
    directory = str(sweep.directory)
    assert command(western, "export", directory).stdout == command(project, "export", directory).stdout
    done = command(project, "report", directory, "--output", str(tmp_path / "nowhere" / "r.html"), check=False)
    assert f"--output {tmp_path}/nowhere/r.html can't be written: No such file or directory" in done.stderr


def test_a_report_that_can_t_be_written_is_no_failure_of_the_sweep(project: Project) -> None:
    (project.directory / "sweep0" / "report.html").mkdir(parents=True)
    done = project.run("-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={project.directory / 'sweep0'}", "x=1,2")
    assert "report.html can't be made" in done.stdout
    assert "hydra-sweep report" in done.stdout
    assert Sweep(project.directory / "sweep0", done).results["trials"]["finished"] == 2


def test_a_sweep_that_is_interrupted_leaves_no_report_yet(project: Project) -> None:
    (project.directory / "app.py").write_text(GATED_APP)
    process, directory = project.start("x=1,2", "hydra/launcher=submitit_local", "hydra.sweeper.agents=1")
    begun(project, 1)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "no more trials begin" in (directory / "supervisor.log").read_text(), "the message")
    go(project, "all")
    assert process.wait(timeout=60) == 130
    assert not (directory / "report.html").exists()
    command(project, "attach", str(directory))
    assert data_in(directory / "report.html")[0]["runs"]["state"] == ["finished", "finished"]
