"""What `hydra-sweep` refuses, and what it and agents warn of, with the next step in the message."""

from __future__ import annotations

import logging
import pickle
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from hydra.core.singleton import Singleton
from hydra.types import HydraContext
from omegaconf import OmegaConf

from hydra_plugins.hydra_wandb_sweeper import _cli, _slurm
from hydra_plugins.hydra_wandb_sweeper._client import SweepClient, SweepRef
from hydra_plugins.hydra_wandb_sweeper._commands import add_agents, attach, cancel, drain, leave_alone, retry
from hydra_plugins.hydra_wandb_sweeper._control import Control
from hydra_plugins.hydra_wandb_sweeper._dispatch import LauncherDispatch, LauncherTraits, job_count
from hydra_plugins.hydra_wandb_sweeper._errors import (
    ServerError,
    ServerUnreachableError,
    SettingError,
    SweepError,
    SweepFailedError,
)
from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._fleet import Fleet
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._job import AgentJob, _come_back
from hydra_plugins.hydra_wandb_sweeper._keeper import leave_to_keeper
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._outcome import Outcome
from hydra_plugins.hydra_wandb_sweeper._report import report
from hydra_plugins.hydra_wandb_sweeper._results import collect
from hydra_plugins.hydra_wandb_sweeper._server_job import ServerTask
from hydra_plugins.hydra_wandb_sweeper._settle import AgentSettings
from hydra_plugins.hydra_wandb_sweeper._submission import Submission
from hydra_plugins.hydra_wandb_sweeper._submitit import SubmititDispatch
from hydra_plugins.hydra_wandb_sweeper._sync_source import Source
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess, Transport
from hydra_plugins.hydra_wandb_sweeper._trial import TaskContext
from tests.unit.sweeper.conftest import HydraApp
from tests.unit.sweeper.settings import make_settings
from tests.unit.sweeper.test_agent import Bench, FakeIsolation, FakeServer, finishes
from tests.unit.sweeper.test_client import KEY, Answer, FakeTime, ScriptedServer, client, data, is_local, server, time
from tests.unit.sweeper.test_ledger import RECORD
from tests.unit.sweeper.test_slurm import FakeSlurm

__all__ = ["client", "is_local", "server", "time"]  # fixtures

SETTINGS = AgentSettings(1, 0.5, 5, None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of a sweep whose server isn't there."""
    return Ledger.create(tmp_path / "sweep", RECORD, "supervisor")


@pytest.fixture
def submit(app: HydraApp, ledger: Ledger) -> Callable[..., None]:
    """Leaves what a sweep's command leaves of its jobs."""

    def save(launcher: str = "submitit_local", agents_per_job: int = 1, task: Any = len) -> None:
        config = OmegaConf.create({"hydra": {}})
        hydra_context = HydraContext(config_loader=app.loader, callbacks=cast(Any, None))
        context = TaskContext(hydra_context, task, config, Singleton.get_state(), opens_run=False)
        job = AgentJob(context, ledger.directory, SETTINGS, "fork", agents_per_job, server_patience_s=1.0)
        Submission(job, 1, LauncherTraits(launcher, 2), (), 6, 0.5).save()

    return save


def said_by(*arguments: str) -> str:
    """What `hydra-sweep ARGUMENTS` says of its failure."""
    done = CliRunner().invoke(_cli.main, arguments)
    assert done.exit_code != 0
    return done.output


def start_agent(ledger: Ledger, host: str, pid: int = 7) -> None:
    """Have agent-0 begin, in no job that could be looked for."""
    process = {"host": host, "pid": pid, "process_start": "1", "node": None, "job": None}
    Ledger(ledger.directory, "agent-0").record("agent_started", job_number=0, restarts=0, **process)


def submit_job(ledger: Ledger, cluster: str, host: str) -> None:
    ledger.record("job_submitted", number=0, job_id="70", cluster=cluster, host=host, log="log")


def end_trial(ledger: Ledger, state: str, metrics: Mapping[str, float] | None = None) -> None:
    trial = Trial(0, 0, "run0", {"lr": 0.1})
    ledger.record("claimed", trial, args=trial.args, failures=0, resumes=False)
    result = {"metrics": metrics or {}, "error_line": None, "output_dir": None, "duration_s": 1.0}
    ledger.record("ended", trial, state=state, final=True, **result)


# --- hydra-sweep ---


def test_an_agent_s_job_of_another_machine_is_not_taken_for_dead(ledger: Ledger) -> None:
    submit_job(ledger, "local", "elsewhere")
    with pytest.raises(SweepError, match=r"Job 70 of this sweep was started on elsewhere.*Run this command there"):
        attach(ledger.directory)


def test_an_agent_of_another_machine_is_not_taken_for_dead(ledger: Ledger) -> None:
    start_agent(ledger, "elsewhere")
    with pytest.raises(SweepError, match=r"agent-0 ran on elsewhere \(process 7\).*Run this command there"):
        attach(ledger.directory)


def test_a_sweep_without_a_submission_is_not_attached_to(ledger: Ledger) -> None:
    with pytest.raises(SweepError, match=r"has no submission\.pkl: its task couldn't be .*Start the sweep anew"):
        attach(ledger.directory)


def test_a_submission_of_another_environment_is_told(ledger: Ledger) -> None:
    path = ledger.root / "submission.pkl"
    path.write_bytes(pickle.dumps(((), b"no pickle")))
    path.chmod(0o600)
    with pytest.raises(SweepError, match=r"can't be loaded: UnpicklingError: .*with the Python environment"):
        attach(ledger.directory)


def test_a_cancelled_sweep_is_not_attached_to(ledger: Ledger, submit: Callable[..., None]) -> None:
    submit()
    Control(ledger.root).cancel()
    with pytest.raises(SweepError, match=r"was cancelled: .*hydra-sweep retry .* --trial N"):
        attach(ledger.directory)


def test_a_task_that_can_not_be_pickled_is_told(
    ledger: Ledger, submit: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    lock = threading.Lock()
    submit(task=lambda cfg: lock.locked())
    assert "Your task can't be pickled, so no other process can go on with this sweep: " in caplog.text
    assert not (ledger.root / "submission.pkl").exists()


def test_agents_are_added_by_launchers_only_that_can_do_it(ledger: Ledger, submit: Callable[..., None]) -> None:
    submit("basic")
    with pytest.raises(SweepError, match=r"The launcher 'basic' can't add jobs.*Repeat the sweep's command"):
        add_agents(ledger.directory, 1)


def test_no_agents_are_added_to_a_sweep_that_has_ended(ledger: Ledger, submit: Callable[..., None]) -> None:
    submit()
    Control(ledger.root).cancel()
    with pytest.raises(SweepError, match="The sweep is cancelled: there is nothing for more agents to do"):
        add_agents(ledger.directory, 1)


def test_agents_are_added_by_the_job(ledger: Ledger, submit: Callable[..., None]) -> None:
    submit(agents_per_job=2)
    with pytest.raises(SweepError, match=r"--add 3: must be a multiple of hydra\.sweeper\.agents_per_job=2"):
        add_agents(ledger.directory, 3)


def test_a_launcher_that_has_to_be_waited_for_is_waited_for(ledger: Ledger, submit: Callable[..., None]) -> None:
    submit("joblib")
    with pytest.raises(SweepError, match=r"'joblib' can't run without being waited for: leave out --no-wait"):
        leave_alone(ledger.directory, 1)


@pytest.mark.parametrize("state", ["finished", "unknown"])
def test_only_trials_that_failed_or_were_stopped_are_retried(ledger: Ledger, state: str) -> None:
    if state != "unknown":
        end_trial(ledger, state)
    with pytest.raises(SweepError, match=rf"Trial 0 is {state}: only failed and stopped.*trials\.csv lists all"):
        retry(ledger.directory, [0])


def test_jobs_that_can_not_be_cancelled_are_told_with_the_command_to_do_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit_job(ledger, "slurm", socket.gethostname())
    monkeypatch.setenv("PATH", "")  # there is no SLURM
    with pytest.raises(SweepError, match=r"Jobs can't be cancelled: scancel: .*by hand: scancel 70"):
        drain(ledger.directory, ["agent-0"])
    assert "The states of jobs can't be asked for: squeue" in caplog.text


def test_a_sweep_is_cancelled_though_the_server_is_not_there(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_plugins.hydra_wandb_sweeper._commands.START_PATIENCE_S", 0.0)
    cancel(ledger.directory)
    assert "The server can't be told, so agents that were started elsewhere may go on: No usable" in caplog.text
    assert re.search(r"The embedded sweep server of .* isn't running\. Start the sweep again", caplog.text)


def test_a_sweep_is_paused_though_the_server_is_not_there(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_plugins.hydra_wandb_sweeper._commands.START_PATIENCE_S", 0.0)
    done = CliRunner().invoke(_cli.main, ["pause", str(ledger.directory)])
    assert "Agents that were started elsewhere don't know of it, as the server can't be told: " in done.output
    assert done.exit_code == 0
    assert Control(ledger.root).orders().paused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("status", "no such thing"),
            "'no such thing' is neither a directory nor the path of a sweep: DIR, ",
        ),
        (("status", "ab12cd34"), "'ab12cd34' is no directory, and a sweep needs its project too: PROJECT/ID"),
        (("drain", "."), "Name an agent, or the id of its job; `hydra-sweep agents DIR` lists them."),
    ],
)
def test_what_names_no_sweep_or_agent_is_told_with_what_would(arguments: tuple[str, ...], words: str) -> None:
    assert words in said_by(*arguments)


def test_a_sweep_that_the_server_does_not_have_is_told_with_what_to_check(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    server.answers = [data(project={"sweep": None})]
    said = said_by("status", "me/proj/ab12cd34", "--server", server.url)
    assert "There is no sweep me/proj/ab12cd34, and no directory 'me/proj/ab12cd34'. Check entity, project" in said


# --- settings that contradict one another or the launcher ---


@pytest.mark.parametrize(
    ("changes", "traits", "words"),
    [
        (
            {"wait": False},
            LauncherTraits("basic", 1),
            "wait=False: the launcher 'basic' can't run.*leave it out",
        ),
        (
            {"snapshot_code": True},
            LauncherTraits("joblib", 2),
            "snapshot_code=True: the launcher 'joblib' runs.*it is",
        ),
        (
            {"agents_per_job": 2},
            LauncherTraits("submitit_slurm", None, ranks=4),
            r"agents_per_job=2: the 4 tasks of a job.*are one agent together; leave it out",
        ),
        ({}, LauncherTraits("submitit_slurm", None), "agents=None: say how many agents"),
    ],
)
def test_what_a_launcher_can_not_do_is_refused(changes: dict[str, Any], traits: LauncherTraits, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        job_count(make_settings(**changes), traits, None)


@dataclass(frozen=True)
class FailingJob:
    """Hosts an agent that never gets to work."""

    def run(self, number: int, on_wait: Callable[[], None]) -> list[dict[str, Any]]:
        raise ValueError("no such thing")


def test_what_another_launcher_reports_is_told_in_its_words(app: HydraApp, tmp_path: Path) -> None:
    config = app.master(f"hydra.sweep.dir={tmp_path}")
    context = HydraContext(config_loader=app.loader, callbacks=cast(Any, NoCallbacks()))
    dispatch = LauncherDispatch(config, context, ["a=1"])
    with pytest.raises(SweepFailedError, match="The launcher reports: ValueError: no such thing"):
        dispatch.start(cast(AgentJob, FailingJob()), [0])


class NoCallbacks:
    """Hydra's callbacks, none of them."""

    def on_job_start(self, **_: Any) -> None:
        """Nothing."""

    def on_job_end(self, **_: Any) -> None:
        """Nothing."""


# --- the server's words ---


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_does_not_let_the_user_in_is_told_with_what_to_check(
    server: ScriptedServer, client: SweepClient, status: int
) -> None:
    server.answers = [Answer(status, {"errors": [{"message": "permission denied"}]})]
    with pytest.raises(ServerError, match=rf"refused the request \(HTTP {status}\): permission denied\. Check WANDB"):
        client.get_sweep(SweepRef("me", "proj", "ab12"))


def test_a_key_that_stands_for_nobody_is_told(server: ScriptedServer, client: SweepClient) -> None:
    server.answers = [data(viewer=None)]
    with pytest.raises(ServerError, match=r"doesn't accept the API key\. Check WANDB_API_KEY or run `wandb login`"):
        client.default_entity()


def test_a_server_s_warnings_about_a_sweep_are_shown(
    server: ScriptedServer, client: SweepClient, caplog: pytest.LogCaptureFixture
) -> None:
    made = {"name": "ab12", "project": {"name": "proj", "entity": {"name": "me"}}}
    server.answers = [data(upsertSweep={"sweep": made, "configValidationWarnings": ["lr: no such key"]})]
    client.create_sweep("method: grid", entity=None, project="proj", description=None)
    assert "The server says of the sweep config: lr: no such key" in caplog.text


def test_that_a_server_is_asked_again_is_said(
    server: ScriptedServer, client: SweepClient, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [Answer(503, "restarting"), data(viewer={"entity": "me"})]
    assert client.default_entity() == "me"
    assert "The sweep server can't answer (HTTP 503: restarting); trying again in " in caplog.text


# --- SLURM that doesn't answer ---


def test_the_time_left_in_a_job_is_unknown_where_slurm_does_not_say_it(caplog: pytest.LogCaptureFixture) -> None:
    down = FakeSlurm(squeue=_slurm.SlurmCallError("squeue says: down"))
    assert _slurm.time_left_s("7", down) is None
    assert "The time left in job 7 can't be asked for: squeue says: down" in caplog.text


class FullCluster:
    """Takes no job."""

    def submit(self, task: object, sbatch: object) -> str:
        raise RuntimeError("sbatch: error: QOSMaxSubmitJobPerUserLimit")


def test_a_server_s_job_that_nobody_follows_serves_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = subprocess.Popen(["sleep", "0"])
    monkeypatch.setenv("PATH", "")  # there is no SLURM
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with caplog.at_level(logging.WARNING):
        ServerTask(tmp_path, cast(Any, FullCluster()))._hand_over(server, "SIGUSR2")
    assert "The cluster takes no job to follow this one: sbatch: error: QOSMaxSubmit" in caplog.text
    assert "This job can't be put back into the queue: scontrol" in caplog.text
    assert "Nobody follows: the sweep's server is gone when this job is ended." in caplog.text


# --- trials ---


@pytest.mark.parametrize(
    ("code", "words"), [(3, "the task called sys.exit(3)"), ("no", "the task called sys.exit('no')")]
)
def test_a_task_that_exits_has_failed_with_its_status(code: object, words: str) -> None:
    outcome = Outcome()
    outcome.exited(SystemExit(code))
    assert outcome.error_line == f"RuntimeError: {words}"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An agent, with a server that hands out one trial."""
    Ledger.create(tmp_path, RECORD, "supervisor")
    return Bench(tmp_path, FakeServer(1), FakeIsolation(lambda _: (None, -9)))


class DeafServer(FakeServer):
    """Hands out trials, and takes no notice of what becomes of them."""

    def record_death(self, *_: Any) -> dict[str, Any]:
        raise ServerUnreachableError("nobody is there")

    def mark_preempting(self, *_: Any) -> None:
        raise ServerUnreachableError("nobody is there")


def test_a_death_that_the_server_does_not_hear_of_is_a_failure_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server = DeafServer(1)
    bench.run()
    assert "Trial 0: its end can't be recorded in its run: nobody is there" in caplog.text
    assert bench.history().trials[0].error_line == "The trial's process was killed by SIGKILL (out of memory?)"


def test_a_trial_makes_room_though_the_server_does_not_hear_of_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server, bench.isolation.beats = DeafServer(1), 5
    agent = bench.agent()
    bench.isolation.on_start = lambda _: agent.on_signal("SIGTERM")
    agent.run()
    assert "Trial 0 is to make room (its job was told to end by SIGTERM); it may go on for 20 s." in caplog.text
    assert "Trial 0: its run can't be marked as preempting: nobody is there" in caplog.text
    assert "Trial 0 is handed over: its job was told to end by SIGTERM" in caplog.text


@pytest.mark.parametrize("status", [0, 70])
def test_a_process_that_ends_without_a_result_has_failed_with_its_status(bench: Bench, status: int) -> None:
    bench.isolation.plan = lambda _: (None, status)
    bench.run()
    error = bench.history().trials[0].error_line
    assert error == f"The trial's process ended with status {status} without a result"


def test_a_trial_that_goes_on_without_the_server_is_told_of(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.isolation = FakeIsolation(finishes, beats=1)
    bench.server.during = [ServerUnreachableError("nobody is there")]
    bench.run()
    assert "Trial 0 goes on without the server: nobody is there" in caplog.text


def test_code_that_starts_threads_when_it_is_imported_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="loader")
    thread.start()
    try:
        job = AgentJob(cast(Any, None), tmp_path, SETTINGS, "fork", 1, server_patience_s=1.0)
        assert job._safe_isolation() == "spawn"
    finally:
        release.set()
        thread.join()
    assert "Trials get a new interpreter each instead of being forked: importing your code started" in caplog.text


def test_a_job_that_can_not_be_put_back_into_the_queue_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Ledger.create(tmp_path, RECORD, "supervisor")
    monkeypatch.setenv("PATH", "")  # there is no SLURM
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    job = AgentJob(cast(Any, None), tmp_path, SETTINGS, "fork", 1, server_patience_s=1.0)
    _come_back(job, timed_out=True)
    assert "Job 7 can't be put back into the queue: scontrol" in caplog.text


# --- the end of a sweep ---


@pytest.mark.parametrize(
    ("metrics", "there"),
    [
        ({}, "(there is none)"),
        ({"error": 1.0, "acc": 0.5}, "(there are acc, error)"),
        ({f"m{i:02}": 1.0 for i in range(11)}, ", m08, m09, …)"),
        ({"loss": 1.0}, None),
    ],
)
def test_a_metric_that_no_trial_has_is_missed_at_the_end(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, metrics: dict[str, float], there: str | None
) -> None:
    end_trial(ledger, "finished", metrics)
    history = History()
    history.add(EventReader(ledger.directory).new_events())
    with caplog.at_level(logging.WARNING):
        report(collect(RECORD, history, ledger.directory), RECORD, history, ledger.directory)
    if there is None:
        assert caplog.text == ""
    else:
        assert (
            "There is no best trial: none has a metric 'loss'; return it from the task, log it, or set" in caplog.text
        )
        assert there in caplog.text


def test_a_keeper_that_no_cluster_takes_is_missed(
    app: HydraApp, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")  # there is no SLURM
    context = HydraContext(config_loader=app.loader, callbacks=cast(Any, NoCallbacks()))
    config = app.master("hydra/launcher=submitit_slurm", f"hydra.sweep.dir={ledger.directory}")
    fleet = Fleet(SubmititDispatch(config, context, "slurm"), cast(AgentJob, FailingJob()))
    assert leave_to_keeper(ledger, fleet, at_first=True) is None
    assert "Nobody will replace agents that die, the cluster takes no job that could: " in caplog.text


def test_what_is_gone_at_the_source_of_a_sync_is_named(server: ScriptedServer) -> None:
    access = ServerAccess(server.url, server.url, KEY, is_local=True)
    source = Source(Transport(lambda: access, patience_s=0.0))
    server.answers = [data(project={"sweep": None, "run": None})]
    with pytest.raises(SweepError, match=r"There is no sweep me/proj/ab12 on http://"):
        source.sweep(RECORD.sweep)
    with pytest.raises(SweepError, match=r"Run r1 isn't on http://.* any more"):
        list(source.lines(RECORD.sweep, "r1", "history", 0, 10))
