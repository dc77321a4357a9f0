"""Runs of the unmodified SDK: what is logged arrives, and can be read back by the same version."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.server.client import Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress

LIFE = """
import pathlib
pathlib.Path("weights.txt").write_text("0.25")
run = wandb.init(
    id="alife", name="a life", group="lives", job_type="train", tags=["one", "two"], notes="to be read",
    config={"lr": 0.1, "layers": [8, 4], "opt": {"name": "sgd", "momentum": None}},
)
run.define_metric("loss", summary="min")
print("this line is for the console log")
wandb.save("weights.txt", policy="now")
for step, loss in enumerate([3.0, 1.0, 2.0]):
    run.log({"loss": loss, "accuracy": step / 2})
run.log({"bad": float("nan"), "big": float("inf"), "small": float("-inf")})
run.log({"late": 1}, step=5000)
run.summary["best"] = {"epoch": 1}
run.config.update({"added": "later"})
run.finish()

run = wandb.Api().run(f"local/{run.project}/alife")
run.file("weights.txt").download(root="downloaded", replace=True)
result(dict(
    state=run.state, name=run.name, id=run.id, group=run.group, tags=run.tags, notes=run.notes, entity=run.entity,
    config=dict(run.config),
    summary=json.loads(json.dumps(dict(run.summary.items()), default=dict)),
    history=[dict(row) for row in run.history(pandas=False)],
    losses=[dict(row) for row in run.history(keys=["loss", "accuracy"], pandas=False)],
    scan=[dict(row) for row in run.scan_history()],
    scan_keys=[dict(row) for row in run.scan_history(keys=["loss"])],
    scan_late=[dict(row) for row in run.scan_history(min_step=4000)],
    scan_part=[dict(row) for row in run.scan_history(min_step=1, max_step=3)],
    files=[file.name for file in run.files()],
    weights=pathlib.Path("downloaded/weights.txt").read_text(),
    last_step=run.lastHistoryStep,
))
"""


@pytest.fixture(scope="module")
def life(
    sdk: Sdk, server: ServerAddress, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the public API tells of a run that logged a bit of everything."""
    user = User(sdk, server, tmp_path_factory.mktemp("life"), new_project())
    read: dict[str, Any] = user.result(LIFE)
    yield {**read, "raw": client.run(user.project, "alife"), "log": client.log_lines(user.project, "alife")}
    user.end()


def test_a_run_that_ends_normally_is_finished(life: dict[str, Any]) -> None:
    assert life["state"] == "finished"
    assert life["raw"]["exitcode"] == 0


def test_what_users_say_about_a_run_is_kept(life: dict[str, Any]) -> None:
    assert (life["id"], life["name"], life["entity"]) == ("alife", "a life", "local")
    assert (life["group"], life["tags"], life["notes"]) == ("lives", ["one", "two"], "to be read")
    assert life["raw"]["jobType"] == "train"


def test_the_config_keeps_types_nesting_and_late_additions(life: dict[str, Any]) -> None:
    expected = {"lr": 0.1, "layers": [8, 4], "opt": {"name": "sgd", "momentum": None}, "added": "later"}
    assert life["config"] == expected


def test_the_summary_has_last_values_own_values_and_defined_metrics(life: dict[str, Any]) -> None:
    summary = life["summary"]
    assert summary["accuracy"] == 1.0
    assert summary["best"] == {"epoch": 1}
    assert summary["loss"] in (1.0, {"min": 1.0})  # how versions write a metric with summary="min"
    assert math.isnan(float(summary["bad"]))


def test_the_history_has_every_row_in_order(life: dict[str, Any]) -> None:
    for rows in (life["history"], life["scan"]):
        assert [row["loss"] for row in rows if row.get("loss") is not None] == [3.0, 1.0, 2.0]
        assert [row["_step"] for row in rows] == [0, 1, 2, 3, 5000]
        assert all("_timestamp" in row and "_runtime" in row for row in rows)
    assert life["last_step"] == 5000


def test_a_history_of_certain_keys_has_their_rows_only(life: dict[str, Any]) -> None:
    assert [(row["loss"], row["accuracy"]) for row in life["losses"]] == [(3.0, 0.0), (1.0, 0.5), (2.0, 1.0)]
    assert [row["loss"] for row in life["scan_keys"]] == [3.0, 1.0, 2.0]


def test_a_scan_of_the_history_goes_by_steps_not_by_line_numbers(life: dict[str, Any]) -> None:
    assert [row["_step"] for row in life["scan_late"]] == [5000]
    assert [row["_step"] for row in life["scan_part"]] == [1, 2]


def test_numbers_that_json_lacks_come_back(life: dict[str, Any]) -> None:
    row = next(row for row in life["scan"] if row.get("big") is not None)
    assert math.isnan(float(row["bad"]))
    assert (float(row["big"]), float(row["small"])) == (math.inf, -math.inf)


def test_the_console_output_is_kept(life: dict[str, Any]) -> None:
    assert any("this line is for the console log" in line for line in life["log"])


def test_files_are_kept_and_can_be_downloaded(life: dict[str, Any]) -> None:
    assert {"weights.txt", "config.yaml", "requirements.txt", "wandb-metadata.json"} <= set(life["files"])
    assert life["weights"] == "0.25"


@pytest.mark.parametrize(
    ("ending", "exit_code"), [("raise ValueError('no good')", 1), ("import sys; sys.exit(3)", 3)]
)
def test_a_run_whose_process_fails_is_failed_with_its_exit_code(
    user: User, client: Client, ending: str, exit_code: int
) -> None:
    done = user.python(f"import wandb\nwandb.init(id='broken').log(dict(x=1))\n{ending}", check=False)
    assert done.returncode == exit_code
    run = client.run(user.project, "broken")
    assert (run["state"], run["exitcode"], run["summary"]["x"]) == ("failed", exit_code, 1)


def test_a_run_ended_by_ctrl_c_is_failed_with_255(user: User, client: Client) -> None:
    code = "import time, wandb\nwandb.init(id='halted')\nprint('ready', flush=True)\ntime.sleep(100)"
    process = user.start("python", "-c", code)
    wait_for(lambda: "ready" in user.log(), "the run starts")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    run = client.run(user.project, "halted")
    assert (run["state"], run["exitcode"]) == ("failed", 255)


def test_a_resumed_run_goes_on_where_it_was(user: User, client: Client) -> None:
    seen, rows = user.result("""
        seen = []
        for resume in ("allow", "allow", "must"):
            run = wandb.init(id="again", resume=resume, config={"lr": 0.1})
            state = wandb.Api().run(f"{run.entity}/{run.project}/{run.id}").state
            seen.append((run.resumed, run.summary.get("x"), state))
            run.log({"x": len(seen)})
            run.log({"x": -len(seen)})
            run.finish()
        rows = wandb.Api().run(f"local/{run.project}/again").scan_history()
        result([seen, [(row["_step"], row["x"]) for row in rows]])
    """)
    assert seen == [[False, None, "running"], [True, -1, "running"], [True, -2, "running"]]
    assert rows == [[0, 1], [1, -1], [2, 2], [3, -2], [4, 3], [5, -3]]
    run = client.run(user.project, "again")
    assert (run["state"], run["historyLineCount"], run["summary"]["x"]) == ("finished", 6, -3)


def test_resume_must_wants_a_run_and_resume_never_wants_none(user: User, client: Client) -> None:
    refused = user.result("""
        wandb.init(id="there", resume="never").finish()
        refused = []
        for name, resume in (("there", "never"), ("elsewhere", "must")):
            try:
                wandb.init(id=name, resume=resume).finish()
            except Exception as error:
                refused.append((name, str(error)))
        result(refused)
    """)
    assert [name for name, _ in refused] == ["there", "elsewhere"]
    assert all(name in message for name, message in refused)
    assert [run["name"] for run in client.runs(user.project)] == ["there"]
