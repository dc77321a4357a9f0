"""A sweep from the command line to its results: check everything, then create, then run, then report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.singleton import Singleton
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from ._client import SweepClient
from ._config_text import config_text
from ._disk import before_the_sweep, check_usable, words
from ._early_service import early_service
from ._errors import SweepDirectoryError
from ._events import DIRECTORY
from ._garbage import rarely_searched
from ._job import AgentJob
from ._ledger import Ledger, SweepRecord
from ._plan import START_PATIENCE_S, Basis, Plan, make_plan, read_basis
from ._rerun import StartCommand, read_start
from ._server import prepared_if_local
from ._settle import AgentSettings
from ._snapshot import current_sys_path, record_code, snapshot_code, snapshot_configs
from ._submission import Submission
from ._supervise import run_unattended, supervise
from ._sweep_config import has_template, read_metric, to_yaml
from ._trial import TaskContext
from ._validate import first_overrides
from ._wandb_run import uses_wandb

if TYPE_CHECKING:
    from wandb_sweep_server.launch import PreparedServer

    from ._results import SweepResults
    from ._wandb_service import SharedService

log = logging.getLogger(__name__)


def run_sweep(
    hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig, arguments: Sequence[str]
) -> SweepResults | None:
    """See wandb_sweeper.WandbSweeper.sweep."""
    basis = read_basis(config)
    early = early_service(basis.settings, basis.server, basis.traits.kind, task_function, config)
    with early as service:
        with rarely_searched(), _prepared_server(basis) as prepared:
            plan = make_plan(basis, hydra_context, config, arguments)
            with before_the_sweep(_sweep_directory(config)):
                submission = _submission(plan, hydra_context, task_function, config, service)
            submission.start_server(plan.server, prepared)
        return _run(plan, submission)


def _run(plan: Plan, submission: Submission) -> SweepResults | None:
    client = SweepClient(plan.server.open, patience_s=START_PATIENCE_S)
    record = _create(plan, client, plan.server.open().app_url, _start_command(submission.job.context.config))
    directory = submission.job.directory
    ledger = make_ledger(directory, record)
    _announce(plan, record, directory)
    if not plan.settings.wait:
        run_unattended(submission, ledger, plan.jobs)
        return None
    return supervise(submission, ledger, client, lambda supervisor: supervisor.see_through(plan.jobs))


def make_ledger(directory: Path, record: SweepRecord) -> Ledger:
    """Return the ledger of a sweep that has just been made. Errors: SweepDirectoryError."""
    try:
        return Ledger.create(directory, record, writer="supervisor")
    except OSError as error:
        raise SweepDirectoryError(
            f"The sweep {record.sweep.path} was made, but hydra.sweep.dir={directory} can't be written any more: "
            f"{words(error)}. To run it in another one: the same command, with "
            f"hydra.sweeper.sweep_id={record.sweep.path}"
        ) from error


def _prepared_server(basis: Basis) -> AbstractContextManager[PreparedServer | None]:
    """A server's process may get ready while everything else is checked."""
    if basis.settings.join is not None or basis.settings.server_job:
        return nullcontext()  # it is needed earlier, or elsewhere
    return prepared_if_local(basis.server, basis.traits.server_host)


def _submission(
    plan: Plan,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    service: SharedService | None,
) -> Submission:
    directory = _prepare_directory(config)
    job = _job(plan, _task_context(plan, hydra_context, task_function, config, directory, service), directory)
    overrides = tuple(first_overrides(plan.template, plan.config))
    submission = Submission(
        job,
        plan.jobs,
        plan.traits,
        overrides,
        plan.settings.max_agent_restarts,
        plan.settings.max_failure_rate,
        plan.settings.server_job,
    )
    submission.save()
    return submission


def _sweep_directory(config: DictConfig) -> Path:
    return Path(str(config.hydra.sweep.dir)).absolute()


def _prepare_directory(config: DictConfig) -> Path:
    directory = _sweep_directory(config)
    # Before a sweep exists anywhere that would then have no agents.
    Ledger.refuse_taken(directory)
    (directory / DIRECTORY).mkdir(parents=True, exist_ok=True)
    check_usable(directory / DIRECTORY)
    (directory / "multirun.yaml").write_text(config_text(config), encoding="utf-8")
    record_code(directory)
    return directory


def _task_context(
    plan: Plan,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    directory: Path,
    service: SharedService | None,
) -> TaskContext:
    settings = plan.settings
    copied_context, copied_config = snapshot_configs(hydra_context, config, directory)
    context = TaskContext(
        copied_context,
        task_function,
        copied_config,
        Singleton.get_state(),
        opens_run=uses_wandb(task_function),
        sdk_after_s=settings.sdk_after_s,
        server_patience_s=settings.server_patience_min * 60,
        service=service,
    )
    if copied_config is config:  # else trials look for config files where nobody has looked yet
        context.composer.take_over(plan.composer)
    return context


def _start_command(config: DictConfig) -> StartCommand:
    # Unresolved: `hydra.run.dir=out/${x}` means something in a run only.
    overrides = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(overrides, list)
    return read_start(sys.orig_argv, sys.argv, [str(override) for override in overrides])


def _create(plan: Plan, client: SweepClient, app_url: str, start: StartCommand) -> SweepRecord:
    settings = plan.settings
    ref = plan.existing or client.create_sweep(
        to_yaml(plan.config), entity=settings.entity, project=settings.project, description=settings.description
    )
    metric = read_metric(plan.config)
    return SweepRecord(
        sweep=ref,
        server=plan.server,
        url=f"{app_url}/{ref.entity}/{ref.project}/sweeps/{ref.sweep_id}",
        name=settings.name,
        method=plan.config["method"],
        metric_name=metric.get("name") or settings.metric_name,
        metric_goal=metric.get("goal") or settings.metric_goal,
        template=plan.template,
        parameters=plan.config.get("parameters") or {},
        expected_trials=plan.expected_trials,
        tags=settings.tags,
        is_ours=has_template(plan.config),
        start=start,
    )


def _job(plan: Plan, context: TaskContext, directory: Path) -> AgentJob:
    settings = plan.settings
    launcher = context.config.hydra.launcher if plan.traits.is_submitit else {}
    timeout_min = launcher.get("timeout_min")
    return AgentJob(
        context=context,
        directory=directory,
        settings=AgentSettings(
            max_retries=settings.max_retries,
            max_failure_rate=settings.max_failure_rate,
            max_consecutive_failures=settings.max_consecutive_failures,
            trials_per_agent=settings.trials_per_agent,
            trial_time_min=settings.trial_time_min,
            resumable=settings.resumable,
        ),
        isolation=settings.isolation,
        agents_per_job=settings.agents_per_job,
        server_patience_s=settings.server_patience_min * 60,
        timeout_s=timeout_min * 60 if timeout_min else None,
        # submitit's own default where hydra-submitit-launcher has no setting.
        warning_s=float(launcher.get("signal_delay_s", 30)),
        max_num_timeout=launcher.get("max_num_timeout", 0),
        silence_s=settings.agent_silence_min * 60 if settings.agent_silence_min is not None else None,
        sys_path=current_sys_path(snapshot_code(directory) if settings.snapshot_code else None),
    )


def _announce(plan: Plan, record: SweepRecord, directory: Path) -> None:
    size = f", {record.expected_trials} trials" if record.expected_trials is not None else ""
    per_job = plan.settings.agents_per_job
    agents = plan.jobs * per_job
    verb = "Joined" if plan.existing else "Created"
    log.info("%s sweep %s (%s%s) for %d agent(s).", verb, record.sweep.path, record.method, size, agents)
    log.info("Sweep directory: %s", directory)
    if record.server.is_local:
        log.info(
            "Recorded by the embedded server at %s, data in %s (for W&B: `wandb login`, hydra.sweeper.server=wandb).",
            record.url,
            record.server.place,
        )
    else:
        log.info("Sweep page: %s", record.url)
    if sys.stderr.isatty():
        from ._open_page import tell_terminal

        tell_terminal(record.server, record.sweep, sys.stderr)
