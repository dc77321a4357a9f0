"""A run that is recorded without W&B's SDK: who may, how one goes on that was begun before, what is sent."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
from hydra_plugins.hydra_wandb_sweeper._direct_run import DirectRun, Order, needs_sdk
from hydra_plugins.hydra_wandb_sweeper._errors import ServerUnreachableError
from hydra_plugins.hydra_wandb_sweeper._ledger import Trial
from hydra_plugins.hydra_wandb_sweeper._run_client import NewRun, RunClient, Tail
from hydra_plugins.hydra_wandb_sweeper._run_facts import RunFacts, gather_facts, list_packages
from hydra_plugins.hydra_wandb_sweeper._sdk_later import SdkLater
from hydra_plugins.hydra_wandb_sweeper._trial import BeforeTask
from tests.waiting import wait_for

FACTS = RunFacts("host", "/app.py", "c0ffee", None, "0.31.0", {"python": "CPython 3.11.7", "host": "host"})


@pytest.fixture(autouse=True)
def _sdk_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the processes of such trials; a test before these may have imported it here."""
    monkeypatch.delitem(sys.modules, "wandb", raising=False)


class FakeClient(RunClient):
    """A server that notes what it is told."""

    def __init__(self, tail: Tail | None = None) -> None:
        super().__init__(SweepRef("e", "p", "s"), lambda: pytest.fail("no request"), patience_s=0)
        self.last = tail or Tail()
        self.begun: list[NewRun] = []
        self.posts: list[dict[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.is_away = False

    def tail(self, run_id: str) -> Tail:
        return self.last

    def begin(self, run: NewRun) -> None:
        if self.is_away:
            raise ServerUnreachableError("away")
        self.begun.append(run)

    def upload(self, run_id: str, name: str, content: BinaryIO) -> None:
        content.seek(0)
        self.uploads[name] = content.read()

    def stream(self, run_id: str, body: Mapping[str, Any], patience_s: float | None = None) -> None:
        self.posts.append(dict(body))


def direct_run(client: RunClient, directory: Path, **changes: Any) -> DirectRun:
    trial = replace(Trial(3, 0, "run3", {"lr": 0.5}), **changes)
    env = {"WANDB_NAME": "3", "WANDB_DIR": str(directory), "WANDB_RUN_ID": "run3"}
    order = Order(trial, env, {"lr": 0.5, "n": 1}, directory, 3600.0)
    return DirectRun(order, client, FACTS, lambda: "a==1\n", lambda: None)


def summary_of(post: Mapping[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(post["files"]["wandb-summary.json"]["content"][-1])
    return {name: value for name, value in summary.items() if not name.startswith("_")}


def test_a_run_is_begun_at_once_and_told_of_once_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = FakeClient()
    run = direct_run(client, tmp_path)
    run.begin()
    run.wait_until_ready()
    ((begun,), posts) = client.begun, client.posts
    assert (begun.run_id, begun.display_name, begun.commit, posts) == ("run3", "3", "c0ffee", [])
    assert {name: begun.config[name] for name in ("lr", "n")} == {"lr": 0.5, "n": 1}
    print("hello")
    assert run.finish({"loss": 0.25}, None, 0) == {"loss": 0.25}
    (post,) = client.posts
    assert (post["complete"], post["exitcode"]) == (True, 0)
    assert json.loads(post["files"]["wandb-history.jsonl"]["content"][0])["loss"] == 0.25
    assert summary_of(post) == {"loss": 0.25}
    assert post["run_files"]["output.log"] == "hello\n"
    assert post["files"]["output.log"]["content"][0].endswith(" hello")
    assert post["run_files"]["requirements.txt"] == "a==1\n"
    assert not (tmp_path / "wandb").exists()


def test_a_run_that_was_begun_before_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {"loss": 0.5, "trial_error": "no good", "_wandb": {"runtime": 100}, "other": 1}
    client = FakeClient(Tail(history_lines=7, log_lines=9, step=12, summary=before))
    run = direct_run(client, tmp_path, attempt=1, resumes=True)
    run.begin()
    print("again")
    assert run.finish({"loss": 0.25, "acc": 1.0}, None, 0) == {"loss": 0.25, "acc": 1.0, "other": 1}
    (post,) = client.posts
    history = post["files"]["wandb-history.jsonl"]
    row = json.loads(history["content"][0])
    # What has been logged before is no news; the summary has the last word.
    assert (history["offset"], row["_step"], row["acc"], "loss" in row) == (7, 12, 1.0, False)
    assert row["_runtime"] >= 100
    assert post["files"]["output.log"]["offset"] == 9
    assert summary_of(post) == {"loss": 0.25, "acc": 1.0, "other": 1}


def test_an_error_is_in_the_summary_and_nothing_in_the_history(tmp_path: Path) -> None:
    client = FakeClient()
    run = direct_run(client, tmp_path)
    run.begin()
    run.finish({}, "ValueError: no good", 1)
    (post,) = client.posts
    assert (post["exitcode"], summary_of(post)) == (1, {"trial_error": "ValueError: no good"})
    assert "wandb-history.jsonl" not in post["files"]


def test_numbers_that_json_lacks_are_sent_as_w_and_b_does(tmp_path: Path) -> None:
    client = FakeClient()
    run = direct_run(client, tmp_path)
    run.begin()
    run.finish({"a": float("nan"), "b": float("inf")}, None, 0)
    assert '"a": NaN, "b": Infinity' in client.posts[0]["files"]["wandb-summary.json"]["content"][0]


def test_a_long_log_is_uploaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient()
    run = direct_run(client, tmp_path)
    run.begin()
    for number in range(10_000):
        print(f"line {number}")
    run.finish({}, None, 0)
    assert client.uploads["output.log"].splitlines()[-1] == b"line 9999"
    assert "output.log" not in client.posts[0]["run_files"]
    assert len(client.posts[0]["files"]["output.log"]["content"]) == 10_000


def test_a_run_that_could_not_be_begun_is_begun_at_its_end(tmp_path: Path) -> None:
    client = FakeClient()
    client.is_away = True
    run = direct_run(client, tmp_path)
    run.begin()
    with pytest.raises(ServerUnreachableError):
        run.wait_until_ready()
    with pytest.raises(ServerUnreachableError):
        run.finish({}, "away", 1)
    client.is_away = False
    run.finish({}, "away", 1)
    assert (len(client.begun), len(client.posts)) == (1, 1)


@pytest.mark.parametrize(
    ("environ", "files", "reason"),
    [
        ({}, {}, None),
        ({"WANDB_API_KEY": "k", "WANDB_NOTES": "n", "WANDB_TAGS": "a", "HOME_OF_WANDB_CONSOLE": "x"}, {}, None),
        ({"WANDB_CONSOLE": "off"}, {}, "WANDB_CONSOLE"),
        ({"WANDB_SAVE_CODE": "true"}, {}, "WANDB_SAVE_CODE"),
        ({}, {"home/.config/wandb/settings": "[default]\nbase_url = http://a\nentity = %(x\n"}, None),
        ({}, {"home/.config/wandb/settings": "[default]\nconsole = off\n"}, "console in "),
        ({}, {"here/wandb/settings": "[default]\nsave_code = true\n"}, "save_code in "),
        ({}, {"here/wandb/settings": "no ini file"}, "settings"),
        ({"WANDB_CONFIG_DIR": "{tmp}/c"}, {"c/settings": "[default]\nquiet = true\n"}, "quiet in "),
    ],
    ids=["nothing", "understood", "console", "code", "login", "home", "project", "broken", "config_dir"],
)
def test_settings_that_only_the_sdk_knows_are_noticed(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], reason: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = {"HOME": str(tmp_path / "home"), **{k: v.replace("{tmp}", str(tmp_path)) for k, v in environ.items()}}
    found = needs_sdk(environ, tmp_path / "here")
    assert found is None if reason is None else reason in (found or "")


class Steps:
    """Counts what an SdkLater does."""

    def __init__(self) -> None:
        self.opened = 0
        self.beats = 0
        self.has_run = False
        self.error: Exception | None = None
        self.first_beat_fails = False
        self.is_opening = threading.Event()
        self.proceed = threading.Event()
        self.proceed.set()

    def open_run(self) -> None:
        self.is_opening.set()
        assert self.proceed.wait(30)
        if self.error is not None:
            raise self.error
        self.opened += 1

    def beat(self) -> None:
        self.beats += 1
        if self.beats == 1 and self.first_beat_fails:
            raise RuntimeError("no server")

    def later(self, after_s: float) -> SdkLater:
        return SdkLater(
            after_s,
            create=lambda: None,
            open_run=self.open_run,
            has_run=lambda: self.has_run,
            beat=self.beat,
        )


def test_a_short_task_never_meets_the_sdk() -> None:
    steps = Steps()
    later = steps.later(3600.0)
    later.start()
    assert not later.end()
    assert (steps.opened, steps.beats) == (0, 0)


def test_the_end_of_a_task_waits_for_an_opening_that_is_under_way() -> None:
    steps = Steps()
    steps.proceed.clear()
    later = steps.later(0.0)
    later.start()
    wait_for(steps.is_opening.is_set, "it is being opened")
    ends: list[bool] = []
    ending = threading.Thread(target=lambda: ends.append(later.end()))
    ending.start()
    assert ends == []
    steps.proceed.set()
    ending.join()
    assert (steps.opened, ends) == (1, [True])


def test_a_lasting_task_is_opened_once_and_keeps_beating() -> None:
    steps = Steps()
    later = steps.later(0.0)
    later.start()
    wait_for(lambda: steps.opened == 1 and steps.beats == 1, "it is open and beats")
    later.hurry()
    wait_for(lambda: steps.beats == 2, "it beats again")
    assert later.end()
    assert steps.opened == 1


def test_a_task_that_cannot_have_the_sdk_goes_on_without_it_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    steps.error = RuntimeError("no port")
    later = steps.later(0.0)
    later.start()
    wait_for(lambda: steps.beats == 1, "it beats")
    assert "W&B's SDK can't open the run: there are no system metrics" in caplog.text
    assert "no port" in caplog.text
    steps.error = None
    later.hurry()
    wait_for(lambda: steps.opened == 1, "the SDK comes after all")
    assert later.end()


def test_what_cannot_be_sent_now_is_sent_later(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    steps.first_beat_fails = True
    later = steps.later(0.0)
    later.start()
    wait_for(lambda: steps.beats == 1, "it beats")
    later.hurry()
    wait_for(lambda: steps.beats == 2, "it beats again")
    assert later.end()
    assert "The run's log can't be sent now: no server" in caplog.text


def test_a_task_that_has_imported_the_sdk_is_given_time_to_open_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps()
    later = steps.later(0.0)
    later.note_import()
    later.start()
    wait_for(lambda: steps.beats == 1, "it beats")
    assert steps.opened == 0
    steps.has_run = True
    monkeypatch.setitem(sys.modules, "wandb", sys.modules.get("wandb", sys))
    later.hurry()
    wait_for(lambda: not later.is_alive, "it leaves the run to the task")
    assert (steps.opened, later.end()) == (0, False)


def test_facts_can_be_gathered_where_no_command_can_be_run() -> None:
    facts = gather_facts(None, lambda _: None, {})
    assert (facts.commit, facts.remote) == (None, None)
    assert "git" not in facts.metadata
    assert "slurm" not in facts.metadata
    assert facts.metadata["cpu_count"] >= 1
    assert "hydra-core==" in list_packages()


def test_gpus_are_told_as_w_and_b_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = "NVIDIA A100-SXM4-40GB, 40960, GPU-1\nNVIDIA A100-SXM4-40GB, 40960, GPU-2"
    facts = gather_facts(None, lambda command: answer if command[0] == "nvidia-smi" else None, {})
    assert (facts.metadata["gpu"], facts.metadata["gpu_count"]) == ("NVIDIA A100-SXM4-40GB", 2)
    assert facts.metadata["gpu_nvidia"][1] == {
        "name": "NVIDIA A100-SXM4-40GB",
        "memoryTotal": "42949672960",
        "uuid": "GPU-2",
    }


def test_a_process_is_not_forked_while_the_sdk_is_being_opened() -> None:
    steps = Steps()
    steps.proceed.clear()
    later = steps.later(0.0)
    later.start()
    wait_for(steps.is_opening.is_set, "it is being opened")
    # Of what is done before a fork, the last that was asked for is done first.
    os.register_at_fork(before=steps.proceed.set)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if steps.opened == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert later.end()


def test_a_task_is_not_run_before_its_run_is_known_to_the_server() -> None:
    calls: list[str] = []

    class Callbacks:
        def on_job_start(self, **_: Any) -> None:
            calls.append("callbacks")

        def on_job_end(self, **_: Any) -> None:
            calls.append("end")

    def refuse() -> None:
        calls.append("run")
        raise ServerUnreachableError("away")

    callbacks = BeforeTask(Callbacks(), refuse)
    with pytest.raises(ServerUnreachableError):
        callbacks.on_job_start(config=None, task_function=None)
    callbacks.on_job_end()
    assert calls == ["callbacks", "run", "end"]
