"""A trial's W&B run, as seen from inside the trial's process.

Runs of code that doesn't know W&B are opened here before the task begins, so that they get W&B's system metrics and
console log. Code that uses W&B itself opens its own run: everything W&B lets the environment decide (run id, sweep,
project, name, group, tags, config) is set beforehand, so it is the same run. Imports wandb only where it is needed.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf

from ._client import RunInfo
from ._ledger import SweepRecord, Trial
from ._outcome import numbers
from ._server import ServerRef
from ._transport import ServerAccess

if TYPE_CHECKING:
    import wandb

# Legends and tables have room for as much; W&B refuses names of more than 128.
_MAX_NAME_CHARS = 64
_ERROR_KEY = "trial_error"


def uses_wandb(task_function: Any) -> bool:
    """True if the user's code will open its W&B run itself.

    That is so if it has imported wandb by now (call this before this plugin does), or if a function of the task's
    module names it (`import wandb` inside a function).
    """
    if "wandb" in sys.modules:
        return True
    return any("wandb" in code.co_names for code in _code_of_module(task_function))


def _code_of_module(task_function: Any) -> Iterator[CodeType]:
    function = task_function
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    siblings = getattr(function, "__globals__", {}).values()
    module = getattr(function, "__module__", None)
    pending = [f.__code__ for f in (function, *siblings) if isinstance(f, FunctionType) and f.__module__ == module]
    while pending:
        code = pending.pop()
        yield code
        pending.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))


def trial_environment(
    access: ServerAccess, sweep: SweepRecord, trial: Trial, output_dir: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that make any W&B run of this process the trial's run.

    environ: the present environment; a name that the user set in it is kept, and so is a run group. Without one W&B
    shows each run: what has a group it shows as one line.
    """
    env = server_environment(access, sweep.server) | {
        "WANDB_ENTITY": sweep.sweep.entity,
        "WANDB_PROJECT": sweep.sweep.project,
        "WANDB_SWEEP_ID": sweep.sweep.sweep_id,
        "WANDB_RUN_ID": trial.run_id,
        "WANDB_NAME": environ.get("WANDB_NAME") or run_name(sweep, trial),
        "WANDB_DIR": str(output_dir),
        "WANDB_SWEEP_PARAM_PATH": str(output_dir / "wandb" / f"sweep-params-{trial.run_id}.yaml"),
    }
    tags = ",".join(filter(None, (environ.get("WANDB_TAGS"), *sweep.tags)))
    if tags:
        env["WANDB_TAGS"] = tags
    if trial.resumes:
        env["WANDB_RESUME"] = "allow"
    if "SLURM_JOB_NAME" in environ and environ.get("SLURM_NTASKS", "1") == "1":
        # Lightning's word for a job that it must not requeue, which it would do behind the agent's back.
        env["SLURM_JOB_NAME"] = "interactive"
    return env


def server_environment(access: ServerAccess, server: ServerRef) -> dict[str, str]:
    """Return the variables by which W&B's SDK talks to a sweep's server, and to nobody else."""
    env = {
        "WANDB_BASE_URL": access.url,
        "WANDB_API_KEY": access.api_key,
        # Clusters without internet have WANDB_MODE=offline in many a profile; the sweep's server can be reached.
        "WANDB_MODE": "online",
    }
    if server.is_embedded:
        # W&B's SDK reports errors and its own use to W&B otherwise: nothing leaves the machine without a login.
        env["WANDB_ERROR_REPORTING"] = "false"
    return env


def run_name(sweep: SweepRecord, trial: Trial) -> str:
    """Return a run's display name: what makes the trial different, '3: lr=0.1,model=mlp'.

    Of dotted keys it has the last part, unless two keys end alike; a long name is cut.
    """
    flat = _flatten(trial.args)
    values = sweep.template.values({name: flat[name] for name in sweep.swept if name in flat})
    ends = Counter(_last_part(name) for name in values)
    short = {name: end if ends[end := _last_part(name)] == 1 else name for name in values}
    text = ",".join(f"{short[name]}={_short(value)}" for name, value in values.items())
    name = f"{trial.number}: {text}" if text else str(trial.number)
    return name if len(name) <= _MAX_NAME_CHARS else f"{name[: _MAX_NAME_CHARS - 1]}…"


def _last_part(name: str) -> str:
    return name.rpartition(".")[2] or name


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flatten(args: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in args.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        flat[f"{prefix}{name}"] = value
    return flat


def prepare_run(
    env: Mapping[str, str],
    args: Mapping[str, Any],
    config: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Let every W&B run of this process start with the swept values (locked) and the Hydra config.

    env: from trial_environment, in force already. args: as claimed. config: from resolved_config. settings: as in
    use_run_config.
    """
    sweep_file = Path(env["WANDB_SWEEP_PARAM_PATH"])
    sweep_file.parent.mkdir(parents=True, exist_ok=True)
    write_config_file(str(sweep_file), args)
    path = sweep_file.parent / f"hydra-config-{env['WANDB_RUN_ID']}.yaml"
    use_run_config(path, beside_swept(config, args), settings)


def use_run_config(path: Path, config: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> None:
    """Make `config` the base of the config of every W&B run of this process; it is kept in `path`.

    settings: others of wandb.Settings that they shall have.
    """
    import wandb

    path.parent.mkdir(parents=True, exist_ok=True)
    write_config_file(str(path), config)
    # Not by WANDB_CONFIG_PATHS: wandb 0.31 takes that variable's text for a list and fails.
    wandb.setup(settings=wandb.Settings(config_paths=[str(path)], **(settings or {})))


def write_config_file(path: str, values: Mapping[str, Any]) -> None:
    """Write names and values in the format of W&B's own config files."""
    content = {name: {"value": value} for name, value in values.items()}
    # libyaml's writer, where PyYAML has it, takes a tenth of the time.
    writer = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump({"wandb_version": 1, **content}, Dumper=writer, sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


def beside_swept(config: Mapping[str, Any], swept: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config that leaves every swept key as the sweep has it.

    W&B's grid search recognises what has been done by these keys, so they must not change. A config group that is
    swept (`model: mlp`) shares its name with the config it chose (`model: {width: 64}`); the latter's values move to
    dotted keys (`model.width: 64`), which is how W&B's pages show nested config anyway.
    """
    result: dict[str, Any] = {}
    for key, value in config.items():
        if str(key) not in swept:
            result[str(key)] = value
        elif isinstance(value, Mapping):
            leaves = _leaves(value, f"{key}.")
            result |= {name: leaf for name, leaf in leaves.items() if name not in swept}
    return result


def _leaves(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def resolved_config(config: DictConfig) -> dict[str, Any]:
    """Return the task's part of a composed config with interpolations resolved, as far as JSON can say it."""
    task_config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain = OmegaConf.to_container(task_config, resolve=True, enum_to_str=True)
    except Exception:  # noqa: BLE001 (interpolations that only the task can resolve are recorded as they stand)
        plain = OmegaConf.to_container(task_config, resolve=False, enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): _jsonable(value) for key, value in plain.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_jsonable(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def open_run(known: RunInfo | None = None) -> wandb.Run:
    """Open the trial's run as the environment describes it, resuming it if the task has opened and finished it.

    known: what the server says of it. What the task called its run then stays, which the environment doesn't know.
    """
    import wandb

    # Where the task keeps its run's files is up to it.
    if _was_opened_here() or (known is not None and known.state == "finished"):
        run = wandb.init(resume="allow", **(_given_names(known) if known is not None else {}))
    else:
        run = wandb.init()
    if _ERROR_KEY in _summary(run):
        # From an attempt that failed; if this one fails too it gets its own.
        run.summary[_ERROR_KEY] = None
    return run


def _given_names(run: RunInfo) -> dict[str, Any]:
    """What people know a run by, as arguments of wandb.init."""
    return {"name": run.name, "group": run.group, "job_type": run.job_type, "notes": run.notes, "tags": run.tags}


def _summary(run: wandb.Run) -> dict[str, Any]:
    return _plain(run.summary)


def _plain(summary: Any) -> dict[str, Any]:
    """What the SDK holds in objects that look like mappings and are none, nested as what was logged."""
    values = {name: summary.get(name) for name in summary.keys()}  # noqa: SIM118
    return {name: _plain(value) if hasattr(value, "keys") else value for name, value in values.items()}


def open_run_afterwards(printed: Callable[[], Iterable[str]]) -> None:
    """Open the trial's run when the task has ended, and have its console log begin with what the task has printed."""
    texts = printed()  # without what W&B says of the run
    open_run()
    # The SDK takes what is written to sys.stdout, by any version of it. In trial.log it stands already.
    sys.stdout.flush()
    own, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        for text in texts:
            sys.stdout.write(text)
        sys.stdout.flush()
    finally:
        os.dup2(own, 1)
        os.close(own)
        os.close(nowhere)


def is_unsent(run: wandb.Run) -> bool:
    """True if the sweep's server hears nothing of a run that the task has opened: it is disabled, or offline."""
    return run.disabled or run.offline


def end_unsent_run() -> dict[str, float]:
    """End the task's run if nothing of it is sent, so that the trial's can be opened, and return its metrics."""
    import wandb

    run = wandb.run
    if run is None or not is_unsent(run):
        return {}
    metrics = numbers(_summary(run))
    run.finish()
    return metrics


def open_later() -> None:
    """Open the trial's run beside the running task, when it was begun without W&B's SDK.

    Its console log goes on without the SDK, which couldn't know what it has missed; and it says nothing, since what
    it prints would be among the task's words.
    """
    import wandb

    wandb.init(resume="allow", settings=wandb.Settings(console="off", silent=True))


def run_directories(environ: Mapping[str, str]) -> set[Path]:
    """Return the directories that W&B's SDK has made for the trial's run: one each time that it was opened."""
    parent, end = Path(environ["WANDB_DIR"]) / "wandb", f"-{environ['WANDB_RUN_ID']}"
    names = os.listdir(parent) if parent.exists() else []
    return {parent / name for name in names if name.startswith("run-") and name.endswith(end)}


def _was_opened_here() -> bool:
    """True if a run of this trial has been opened in this attempt's or an earlier one's process."""
    return bool(run_directories(os.environ))


def record_and_finish(
    metrics: Mapping[str, float],
    error: str | None,
    exit_code: int,
    find_run: Callable[[], RunInfo | None],
    *,
    is_first: bool,
) -> dict[str, Any]:
    """Record the task's metrics (and error) in the trial's run, finish it, and return the run's summary.

    Whatever the task did with its run, this ends with one finished run: it may be open still, or finished already.
    find_run: asks the server for the run. is_first: this is the trial's first attempt.
    """
    import wandb

    run = wandb.run
    if run is None:
        found = find_run()
        # What is there otherwise may be of an earlier attempt.
        is_said = is_first and error is None and exit_code == 0
        if is_said and found is not None and has_recorded(found, metrics):
            # To open it again would take as long as a short trial.
            return own_values(found.summary)
        run = open_run(found)
    logged = _summary(run)
    if new := {name: value for name, value in metrics.items() if name not in logged}:
        run.log(new)
    # A logged value reaches the summary as define_metric() says (min, max, …); the task's return value is final.
    for name, value in metrics.items():
        run.summary[name] = value
    if error is not None:
        run.summary[_ERROR_KEY] = error
    summary = _summary(run)
    run.finish(exit_code=exit_code)
    return own_values(summary)


def has_recorded(run: RunInfo, metrics: Mapping[str, float]) -> bool:
    """True if a run that the task has finished itself, well, has these metrics as its last word already."""
    if run.state != "finished" or run.summary.get(_ERROR_KEY) is not None:
        return False
    return all(type(run.summary.get(name)) in (int, float) and run.summary[name] == metrics[name] for name in metrics)


def own_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers and texts of a summary that aren't W&B's own, nested ones within their mappings."""
    return {k: v for k, v in summary.items() if isinstance(v, int | float | str | dict) and not k.startswith("_")}
