"""What else users of the unmodified SDK rely on: a trial that uses everything, deleted runs, and truthful features.

Starting the SDK takes longest, so each version runs two scripts, and each test looks at a part of what they tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.server.client import CREATE_FILES, Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from tests.integration.server.test_sdk_artifacts import ATTEMPT
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress
from wandb_sweep_server.resolvers.queries import FEATURES, NEWEST_SDK, OLDEST_SDK

SWEEP = {
    "method": "grid",
    "parameters": {"x": {"values": [7, 8]}, "net": {"parameters": {"depth": {"value": 3}}}},
    "metric": {"name": "loss", "goal": "minimize"},
}

# --- a trial that uses everything ---

TRIAL = """
import os, pathlib

seen = {}

def trial():
    run = wandb.init(
        resume="allow", config={"seed": 1, "x": 99}, tags=["a"], notes="n", group="g", job_type="train", name="mine"
    )
    seen.update(id=run.id, sweep=run.sweep_id, resumed=run.resumed)
    seen.update(x=run.config["x"], depth=run.config["net"]["depth"])
    run.config.update({"late": [1, 2]})
    run.config["net"] = {"depth": 4}  # what a sweep has set stays
    run.tags += ("b",)
    run.define_metric("epoch")
    run.define_metric("loss", step_metric="epoch", summary="min")
    for epoch, loss in enumerate([3.0, 1.0, 2.0]):
        run.log({"epoch": epoch, "loss": loss})
    run.log({"page": wandb.Html("<p>media</p>")})
    run.summary["done"] = True
    print("a line of the trial")
    pathlib.Path("kept.txt").write_text("kept")
    run.save("kept.txt", policy="now")
    artifact = wandb.Artifact("model", "model")
    artifact.add_file("kept.txt")
    run.log_artifact(artifact)
    run.finish()

wandb.agent(PATH, function=trial, count=1)
api = wandb.Api()
sweep = api.sweep(PATH)
(run,) = sweep.runs
result(dict(
    seen=seen, id=run.id, name=run.name, state=run.state, group=run.group, notes=run.notes, tags=sorted(run.tags),
    job_type=run.job_type, config=dict(run.config),
    done=run.summary["done"], loss=json.loads(json.dumps(run.summary["loss"], default=dict)),
    best=sweep.best_run().id, sweep=run.sweep.id, epochs=[row["epoch"] for row in run.scan_history(keys=["epoch"])],
    files=[file.name for file in run.files()], artifacts=[artifact.name for artifact in run.logged_artifacts()],
))
"""


@pytest.fixture(scope="module")
def trial(
    sdk: Sdk, server: ServerAddress, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What a trial of `wandb.agent()` saw, and what the public API tells of it."""
    user = User(sdk, server, tmp_path_factory.mktemp("trial"), new_project())
    name = client.sweep(user.project, SWEEP)
    told = user.result(TRIAL.replace("PATH", repr(f"local/{user.project}/{name}")))
    yield {**told, "sweep_name": name, "log": client.log_lines(user.project, told["id"])}
    user.end()


def test_a_trial_gets_its_id_sweep_and_values_whatever_its_code_says(trial: dict[str, Any]) -> None:
    seen = {"id": trial["id"], "sweep": trial["sweep_name"], "x": 7, "depth": 3, "resumed": False}
    assert trial["seen"] == seen
    assert trial["config"] == {"x": 7, "net": {"depth": 3}, "seed": 1, "late": [1, 2]}


def test_what_a_trial_says_of_itself_is_kept(trial: dict[str, Any]) -> None:
    assert (trial["name"], trial["state"], trial["sweep"]) == ("mine", "finished", trial["sweep_name"])
    assert (trial["group"], trial["notes"], trial["job_type"]) == ("g", "n", "train")
    assert trial["tags"] == ["a", "b"]


def test_what_a_trial_logs_is_kept(trial: dict[str, Any]) -> None:
    assert trial["loss"] in (1.0, {"min": 1.0})  # how versions write a metric with summary="min"
    assert trial["done"] is True
    assert trial["epochs"] == [0, 1, 2]
    assert trial["best"] == trial["id"]
    assert any("a line of the trial" in line for line in trial["log"])
    assert "kept.txt" in trial["files"]
    assert any(name.startswith("media/html/page_") for name in trial["files"])
    assert trial["artifacts"] == ["model:v0"]


# --- deleted runs, resume="auto", features ---

LIFE_AND_DEATH = (
    ATTEMPT
    + """
def live(name):
    run = wandb.init(id=name)
    run.log({"x": 1, "deep": {"y": 2}})
    artifact = wandb.Artifact(f"of-{name}", "model")
    with artifact.new_file("name") as file:
        file.write(name)
    run.log_artifact(artifact)
    with open("large.bin", "wb") as file:
        file.write(bytes(100_000))
    run.save("large.bin", policy="now")
    run.finish()
    return run.path

told = {}
kept, gone, both = live("kept"), live("gone"), live("both")
project = gone.rpartition("/")[0]
wandb.Api().run(gone).delete()
wandb.Api().run(both).delete(delete_artifacts=True)
told["runs"] = [run.id for run in wandb.Api().runs(project)]
told["artifacts"] = [wandb.Api().artifact_exists(f"{project}/of-{name}:v0") for name in ("kept", "gone", "both")]
told["read"] = attempt(lambda: wandb.Api().run(gone).state)
told["file"] = attempt(lambda: wandb.Api().run(kept).file("config.yaml").delete())
told["again"] = attempt(lambda: wandb.init(id="gone"))
told["fork"] = attempt(lambda: wandb.init(fork_from="kept?_step=0"))
told["rewind"] = attempt(lambda: wandb.init(resume_from="kept?_step=0"))
told["nested"] = wandb.Api().run(kept).history(keys=["deep.y"], x_axis="x", pandas=False)

run = wandb.init(id="alive")
wandb.Api().run(run.path).delete()
run.log({"x": 2})
run.config.update({"y": 3})
run.finish()
told["still"] = [run.id for run in wandb.Api().runs(project)]

ids = []
for code in (1, 0):
    run = wandb.init(resume="auto")
    ids.append([run.id, run.resumed])
    run.finish(exit_code=code)
told["auto"] = ids

from wandb.proto import wandb_internal_pb2
told["features"] = list(wandb_internal_pb2.ServerFeature.keys())
told["version"] = wandb.__version__
result(told)
"""
)


@pytest.fixture(scope="module")
def told(sdk: Sdk, server: ServerAddress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the script tells."""
    user = User(sdk, server, tmp_path_factory.mktemp("told"), new_project())
    # 0.31 packs what it streams where it is allowed to and the server can read it; older versions never do.
    yield {**user.result(LIFE_AND_DEATH, WANDB_X_FILE_STREAM_NO_GZIP="false"), "project": user.project}
    user.end()


def test_a_deleted_run_is_gone_and_its_artifacts_only_if_they_are_to_be(told: dict[str, Any]) -> None:
    assert told["runs"] == ["kept"]
    assert told["artifacts"] == [True, True, False]
    assert "gone" in told["read"]
    assert told["read"].startswith("refused:")


def test_the_files_of_a_deleted_run_are_removed_soon(told: dict[str, Any], server: ServerAddress) -> None:
    files = Path(server.directory) / "files" / "local" / told["project"]
    wait_for(lambda: not (files / "gone").exists(), "the server keeps house")
    assert (files / "kept" / "large.bin").exists()


def test_the_id_of_a_deleted_run_is_refused_at_once(told: dict[str, Any]) -> None:
    assert "run 'gone' was deleted, and its id can't be used again" in told["again"]


def test_a_process_whose_run_was_deleted_ends_as_usual_and_brings_nothing_back(told: dict[str, Any]) -> None:
    assert told["still"] == ["kept"]


def test_single_files_are_not_deleted_and_this_is_said(told: dict[str, Any]) -> None:
    assert "deleteFiles: single files can't be deleted in this server" in told["file"]


def test_a_run_is_not_forked_or_rewound_and_this_is_said(told: dict[str, Any]) -> None:
    assert "fork_from is not available in this server" in told["fork"]
    assert "rewindRun: not available in this server" in told["rewind"]


def test_nested_values_are_found_in_the_history_by_their_dotted_names(told: dict[str, Any]) -> None:
    assert told["nested"] == [{"deep.y": 2, "x": 1}]


def test_resume_auto_takes_up_the_run_that_failed_in_the_same_directory(told: dict[str, Any]) -> None:
    (first, was_resumed), (second, is_resumed) = told["auto"]
    assert (first, was_resumed, is_resumed) == (second, False, True)


def test_the_features_are_named_as_the_sdk_names_them(sdk: Sdk, told: dict[str, Any]) -> None:
    if sdk.version < (0, 31):
        pytest.skip("older versions know fewer")
    assert set(FEATURES) <= set(told["features"])


def test_the_versions_that_the_server_names_are_those_of_the_tests(sdk: Sdk, told: dict[str, Any]) -> None:
    if sdk.version >= (0, 31):
        assert told["version"] == NEWEST_SDK
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    assert re.search(r"^SDK_VENVS := \.venv-wandb-(\S+) ", makefile, re.MULTILINE)[1] == OLDEST_SDK


FEATURE_QUERIES = [
    "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }",
    """query ServerInfo { serverInfo { cliVersionInfo latestLocalVersionInfo {
        outOfDate latestVersionString versionOnThisInstanceString } } }""",
]


def test_features_and_versions_are_answered_as_they_are(client: Client) -> None:
    features, versions = (client.graphql(query)["serverInfo"] for query in FEATURE_QUERIES)
    assert features["features"] == [{"name": name, "isEnabled": True} for name in FEATURES]
    assert versions == {
        "cliVersionInfo": {"min_cli_version": OLDEST_SDK, "max_cli_version": NEWEST_SDK},
        "latestLocalVersionInfo": None,
    }


MAKE_SWEEP = """
mutation UpsertSweep($config: String, $project: String, $prior: JSONString, $launch: JSONString) {
  upsertSweep(input: {
    config: $config, projectName: $project, priorRunsFilters: $prior, launchScheduler: $launch
  }) { sweep { name } configValidationWarnings }
}"""
CONFIG = '{"method": "grid", "parameters": {"x": {"values": [1]}}}'


def test_earlier_runs_for_a_new_sweep_have_no_effect_and_this_is_said(client: Client, project: str) -> None:
    prior = json.dumps({"$or": [{"name": "a"}]})
    (warning,) = client.graphql(MAKE_SWEEP, config=CONFIG, project=project, prior=prior)["upsertSweep"][
        "configValidationWarnings"
    ]
    assert "prior_runs have no effect in this server" in warning
    made = client.graphql(MAKE_SWEEP, config=CONFIG, project=project, prior="{}")["upsertSweep"]
    assert made["configValidationWarnings"] == []


def test_a_sweep_on_a_launch_queue_is_refused(client: Client, project: str) -> None:
    response = client.post_graphql(MAKE_SWEEP, {"config": CONFIG, "project": project, "launch": "{}"})
    assert response.status_code == 400
    assert "launch queues are not available" in response.text


def test_filters_of_sweeps_are_refused(client: Client, project: str) -> None:
    client.sweep(project, SWEEP)
    query = """query S($p: String!, $f: JSONString) {
        project(name: $p) { sweeps(filters: $f) { edges { node { name } } } } }"""
    assert len(client.graphql(query, p=project, f="{}")["project"]["sweeps"]["edges"]) == 1
    response = client.post_graphql(query, {"p": project, "f": '{"state": "RUNNING"}'})
    assert response.status_code == 400
    assert "filters of sweeps are not available in this server" in response.text


def test_files_of_a_run_are_found_by_a_pattern(client: Client, project: str) -> None:
    client.start(project, "r")
    data = client.graphql(CREATE_FILES, project=project, run="r", files=["media/a.png", "media/b.txt", "c_png"])
    for file in data["createRunFiles"]["files"]:
        assert requests.put(file["uploadUrl"], data=b"", timeout=60).status_code == 200
    query = """query F($p: String!, $pattern: String) { project(name: $p) { run(name: "r") {
        files(pattern: $pattern) { totalCount edges { node { name } } } } } }"""
    for pattern, names in {"%.png": ["media/a.png"], "media/%": ["media/a.png", "media/b.txt"], "x": []}.items():
        files = client.graphql(query, p=project, pattern=pattern)["project"]["run"]["files"]
        assert [edge["node"]["name"] for edge in files["edges"]] == names
        assert files["totalCount"] == len(names)


@pytest.mark.parametrize("name", ["linkArtifact", "rewindRun", "createRunQueue", "notifyScriptableRunAlert"])
def test_an_operation_that_is_not_there_is_named(client: Client, name: str) -> None:
    response = client.post_graphql(f"mutation M($input: Unheard!) {{ {name}(input: $input) {{ id }} }}")
    assert response.status_code == 400
    assert response.json() == {"errors": [{"message": f"{name}: not available in this server"}]}
