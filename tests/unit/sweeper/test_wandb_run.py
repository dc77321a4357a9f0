"""What makes any W&B run of a trial's process the trial's run."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._client import RunInfo
from hydra_plugins.hydra_wandb_sweeper._ledger import Trial
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess
from hydra_plugins.hydra_wandb_sweeper._wandb_run import (
    beside_swept,
    has_recorded,
    run_name,
    trial_environment,
    write_config_file,
)
from tests.unit.sweeper.test_ledger import RECORD

ACCESS = ServerAccess("http://127.0.0.1:1", "http://127.0.0.1:1", "local-key")
TRIAL = Trial(3, 0, "run3", {"lr": 0.1})


def test_the_environment_names_run_sweep_and_project() -> None:
    env = trial_environment(ACCESS, RECORD, TRIAL, Path("/out"), {})
    assert (env["WANDB_RUN_ID"], env["WANDB_SWEEP_ID"]) == ("run3", RECORD.sweep.sweep_id)
    assert (env["WANDB_ENTITY"], env["WANDB_PROJECT"]) == (RECORD.sweep.entity, RECORD.sweep.project)
    assert (env["WANDB_DIR"], env["WANDB_MODE"]) == ("/out", "online")
    assert "WANDB_RESUME" not in env
    resumed = trial_environment(ACCESS, RECORD, replace(TRIAL, attempt=1, resumes=True), Path("/out"), {})
    assert resumed["WANDB_RESUME"] == "allow"


def test_name_group_and_tags_of_the_user_stay() -> None:
    sweep = replace(RECORD, tags=("ours",))
    own = {"WANDB_RUN_GROUP": "mine", "WANDB_NAME": "my run", "WANDB_TAGS": "theirs"}
    env = own | trial_environment(ACCESS, sweep, TRIAL, Path("/out"), own)
    assert (env["WANDB_RUN_GROUP"], env["WANDB_NAME"], env["WANDB_TAGS"]) == ("mine", "my run", "theirs,ours")


def test_runs_have_no_group_and_no_job_type_of_ours() -> None:
    assert not {"WANDB_RUN_GROUP", "WANDB_JOB_TYPE"} & set(trial_environment(ACCESS, RECORD, TRIAL, Path("/o"), {}))


def test_with_the_embedded_server_nothing_is_reported_to_anybody_else() -> None:
    local = replace(RECORD, server=ServerRef("local", "/data"))
    cloud = replace(RECORD, server=ServerRef("wandb", "https://api.wandb.ai"))
    assert trial_environment(ACCESS, local, TRIAL, Path("/out"), {})["WANDB_ERROR_REPORTING"] == "false"
    assert "WANDB_ERROR_REPORTING" not in trial_environment(ACCESS, cloud, TRIAL, Path("/out"), {})


def test_lightning_takes_a_job_of_one_task_for_one_that_it_must_not_requeue() -> None:
    slurm = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1"}
    assert trial_environment(ACCESS, RECORD, TRIAL, Path("/out"), slurm)["SLURM_JOB_NAME"] == "interactive"
    # With several it needs to know of SLURM, to find its ranks.
    ranks = {**slurm, "SLURM_NTASKS": "2"}
    assert "SLURM_JOB_NAME" not in trial_environment(ACCESS, RECORD, TRIAL, Path("/out"), ranks)
    assert "SLURM_JOB_NAME" not in trial_environment(ACCESS, RECORD, TRIAL, Path("/out"), {})


def test_a_run_is_named_after_what_differs_between_trials() -> None:
    sweep = replace(RECORD, parameters={"lr": {"values": [0.1, 0.2]}, "model": {"values": ["a"]}, "n": {"value": 7}})
    assert run_name(sweep, replace(TRIAL, args={"lr": 0.123456, "model": "a", "n": 7})) == "3: lr=0.1235,model=a"
    assert run_name(replace(sweep, parameters={}), TRIAL) == "3"
    long = run_name(sweep, replace(TRIAL, args={"lr": 0.1, "model": "x" * 500}))
    assert (len(long), long[:20], long[-1]) == (64, "3: lr=0.1,model=xxxx", "…")


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ({"opt.lr": 0.1, "model.net.width": 8}, "3: lr=0.1,width=8"),
        ({"opt.lr": 0.1, "sched.lr": 0.2, "model.n": 1}, "3: opt.lr=0.1,sched.lr=0.2,n=1"),
        ({"opt": {"m": 1}}, "3: m=1"),
    ],
)
def test_dotted_keys_are_named_by_their_last_part_where_it_is_plain(args: dict[str, Any], name: str) -> None:
    parameters = {k: {"parameters": {"m": {"values": [1]}}} if k == "opt" else {"values": [1]} for k in args}
    assert run_name(replace(RECORD, parameters=parameters), replace(TRIAL, args=args)) == name


@pytest.mark.parametrize(
    ("config", "swept", "expected"),
    [
        ({"lr": 0.1, "n": 1}, {"lr": 0.2}, {"n": 1}),
        ({"model": {"width": 8, "deep": {"a": 1}}}, {"model": "small"}, {"model.width": 8, "model.deep.a": 1}),
        ({"model": {"width": 8}}, {"model": "small", "model.width": 9}, {}),
        ({"o": {"lr": 1}}, {"o.lr": 1}, {"o": {"lr": 1}}),
    ],
)
def test_swept_keys_stay_as_the_sweep_has_them(
    config: dict[str, object], swept: dict[str, object], expected: dict[str, object]
) -> None:
    assert beside_swept(config, swept) == expected


@pytest.mark.parametrize(
    ("state", "summary", "is_recorded"),
    [
        ("finished", {"loss": 0.5, "acc": 1}, True),
        ("finished", {"loss": 0.5, "acc": 1, "more": "x", "trial_error": None}, True),
        ("finished", {"loss": 0.5}, False),
        ("finished", {"loss": 0.25, "acc": 1}, False),
        ("finished", {"loss": {"min": 0.5}, "acc": 1}, False),
        ("finished", {"loss": 0.5, "acc": True}, False),
        ("finished", {"loss": 0.5, "acc": 1, "trial_error": "KeyError: 'a'"}, False),
        ("failed", {"loss": 0.5, "acc": 1}, False),
        ("running", {"loss": 0.5, "acc": 1}, False),
    ],
)
def test_a_run_is_opened_again_unless_all_is_in_it(state: str, summary: dict[str, Any], is_recorded: bool) -> None:
    run = RunInfo("run3", state, {}, summary)
    assert has_recorded(run, {"loss": 0.5, "acc": 1.0}) == is_recorded


def test_what_is_no_number_is_recorded_by_ourselves() -> None:
    assert not has_recorded(RunInfo("run3", "finished", {}, {"loss": "NaN"}), {"loss": float("nan")})
    assert has_recorded(RunInfo("run3", "finished", {}, {"loss": 0.5}), {})


TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(TEXTS.filter(lambda name: name != "wandb_version"), VALUES, max_size=4))
def test_a_config_file_is_read_as_it_was_meant_by_the_loader_that_wandb_uses(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        write_config_file(str(path), values)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content == {"wandb_version": 1, **{name: {"value": value} for name, value in values.items()}}
