"""Sweep data from what there is: a sweep directory's ledger, or only the server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wandb_sweep_server.importance import is_finite, is_number

from ._client import RunInfo, SweepInfo
from ._control import Control, Orders
from ._events import EventReader, in_batches
from ._history import History
from ._ledger import Ledger, SweepRecord
from ._outcome import FAILED, FINISHED, STOPPED, numbers
from ._output_place import TRIAL_LOG
from ._page_data import RunTimes, Work
from ._sweep_config import flat_args, flat_parameters, read_metric, read_template
from ._sweep_data import RunEntry, SweepEntry, sweep_data
from ._template import Template
from ._timeline import Assignment, Timeline
from ._trial_table import QUEUED, RUNNING, TrialHistory
from ._values import parse
from ._wandb_run import run_name

_RUN_STATES = {FINISHED: "finished", FAILED: "failed", STOPPED: "killed", RUNNING: "running", QUEUED: "pending"}
_ENDED = frozenset({"finished", "failed", "killed", "crashed", "preempted"})
_DEFAULT_METRIC = "objective"
_TRIAL_FILES = {"log": TRIAL_LOG, "config": ".hydra/config.yaml"}
# What a run's own clock, of whole seconds, may leave out: its creation and its end take a while on a loaded machine.
# A run that was taken up again sooner than this counts as one that went on.
_UNSEEN_S = 10.0


def ledger_data(
    ledger: Ledger, now: float, server: SweepInfo | None = None, *, beside: Path | None = None
) -> dict[str, Any]:
    """Return the data of the sweep in a directory. now: seconds since the epoch.

    server: what the server says of the sweep, None if it can't be asked; then the config has only the parts that the
    ledger knows. beside: the directory from which trials' files are to be linked to, None if they aren't.
    """
    record, history, timeline = ledger.sweep(), History(), Timeline()
    for events in in_batches(EventReader(ledger.directory).new_events()):
        history.add(events)
        timeline.add(events)
    entry = SweepEntry(
        ref=record.sweep,
        name=record.name,
        description=server.description if server is not None else None,
        url=_web_address(record.url),
        state=_state(record, history, Control(ledger.root).orders()),
        method=record.method,
        created_at=(ledger.root / "sweep.json").stat().st_mtime,
        metric_name=record.metric_name,
        metric_goal=record.metric_goal,
        expected=record.expected_trials,
        config=server.config if server is not None else _known_config(record, ledger.parameters()),
    )
    values = value_reader(record.template, {"parameters": record.parameters}, number_or_text)
    trials = [history.trials[number] for number in sorted(history.trials)]
    runs = [_of_trial(trial, timeline.last[trial.trial.number], record, history, values) for trial in trials]
    data = sweep_data(entry, runs, timeline.agents, now=now)
    return data if beside is None else {**data, "places": _places([trial.output_dir for trial in trials], beside)}


def _places(directories: Sequence[str | None], beside: Path) -> dict[str, Any]:
    """Relative addresses of trials' directories, and of what each holds; None for what is elsewhere or nowhere."""
    relative = [os.path.relpath(place, beside) if place is not None else None for place in directories]
    # With ./ no name is taken for a scheme.
    within = [None if path is None or path.startswith(os.pardir) else f"./{quote(path)}/" for path in relative]
    first = next((Path(place) for place in directories if place is not None), None)
    # The first trial's are as the others': to look at each of 4,000 takes a while on a network file system.
    held = {name: first is not None and (first / path).is_file() for name, path in _TRIAL_FILES.items()}
    return {"directory": within, **{name: path if held[name] else None for name, path in _TRIAL_FILES.items()}}


def server_data(
    info: SweepInfo, url: str, runs: Iterable[RunInfo], now: float, work: Work | None = None
) -> dict[str, Any]:
    """Return the data of a sweep of which only the server is known. url: of its page. now: seconds since the epoch.

    work: who worked when; None if the server doesn't tell, as W&B's.
    """
    config, metric = info.config, read_metric(info.config)
    entry = SweepEntry(
        ref=info.ref,
        name=config.get("name"),
        description=info.description,
        url=_web_address(url),
        state=info.state,
        method=str(config.get("method")),
        created_at=info.created_at,
        metric_name=str(metric.get("name") or _DEFAULT_METRIC),
        metric_goal=str(metric.get("goal") or "minimize"),
        expected=_expected(config),
        config=config,
    )
    values = value_reader(read_template(config), config, number_or_text)
    entries = [of_run(run, values(run.config), work) for run in runs]
    data = sweep_data(entry, entries, None, now=now)
    return data if work is None else {**data, "agents": list(work.agents), "knows_agents": True}


def _with_times(entry: RunEntry, times: RunTimes) -> RunEntry:
    return replace(
        entry,
        began_at=times.began_at,
        ended_at=times.ended_at,
        duration_s=times.duration_s,
        agent=times.agent,
    )


def value_reader(
    template: Template, config: Mapping[str, Any], read: Callable[[str], Any]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a function from a trial's values, as claimed, to those of the swept parameters, nested ones dotted.

    config: with the sweep's `parameters`. read: as in Template.values.
    """
    swept = frozenset(name for name, spec in flat_parameters(config) if "value" not in spec)

    def values(args: Mapping[str, Any]) -> dict[str, Any]:
        flat = flat_args(args, config)
        return template.values({name: value for name, value in flat.items() if name in swept}, read)

    return values


@lru_cache(maxsize=1 << 16)
def cached_parse(text: str) -> Any:
    """As _values.parse, which takes longer than all else that is done to a trial; don't change what it returns."""
    return parse(text)


def number_or_text(text: str) -> Any:
    """Return the number that an override's text means, the text itself if it means anything else."""
    value = cached_parse(text)
    return value if is_number(value) else text


def _of_trial(
    trial: TrialHistory,
    last: Assignment,
    record: SweepRecord,
    history: History,
    values: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> RunEntry:
    agent = history.agents.get(trial.agent)
    state = _RUN_STATES[trial.state]
    return RunEntry(
        run_id=trial.trial.run_id,
        name=run_name(record, trial.trial),
        state="preempting" if trial.state == RUNNING and trial.is_preempting else state,
        began_at=trial.started,
        ended_at=last.ended_at if state in _ENDED else None,
        duration_s=trial.duration_s,
        host=agent.host if agent is not None else None,
        agent=trial.agent or None,
        reason=trial.error_line,
        parameters=values(trial.trial.args),
        metrics=trial.metrics,
    )


def of_run(run: RunInfo, parameters: Mapping[str, Any], work: Work | None = None) -> RunEntry:
    """Return what a server says of a run. parameters: see RunEntry. work: as of server_data."""
    error = run.summary.get("trial_error")
    entry = RunEntry(
        run_id=run.run_id,
        name=run.name or run.run_id,
        state=run.state,
        began_at=run.created_at,
        ended_at=run.heard_at if run.state in _ENDED else None,
        duration_s=_duration_s(run),
        host=_host(run.config),
        agent=None,
        # The last line of a traceback is the error itself.
        reason=str(error).strip().splitlines()[-1] if error and str(error).strip() else None,
        parameters=parameters,
        metrics=numbers(run.summary),
    )
    # A run that has begun since has none.
    times = work.times.get(run.run_id) if work is not None else None
    return entry if times is None else _with_times(entry, times)


def _duration_s(run: RunInfo) -> float | None:
    """How long a run was worked on.

    The SDK counts whole seconds. The run's beginning and its last sign of life say the rest, unless it was
    interrupted in between.
    """
    runtime_s = _runtime_s(run.summary)
    if run.state not in _ENDED or run.created_at is None or run.heard_at is None or run.heard_at < run.created_at:
        return runtime_s
    span_s = round(run.heard_at - run.created_at, 3)
    return span_s if runtime_s is None or abs(span_s - runtime_s) < _UNSEEN_S else runtime_s


def _runtime_s(summary: Mapping[str, Any]) -> float | None:
    """By what was logged last, and by the SDK's own count at the end."""
    own = summary.get("_wandb")
    found: list[Any] = [summary.get("_runtime"), own.get("runtime") if isinstance(own, dict) else None]
    return max((value for value in found if is_finite(value)), default=None)


def _host(config: Mapping[str, Any]) -> str | None:
    """The SDK notes in a run's config where each process that wrote it was; the last one counts."""
    own = config.get("_wandb")
    writers = own.get("e") if isinstance(own, dict) else None
    hosts = [w.get("host") for w in writers.values() if isinstance(w, dict)] if isinstance(writers, dict) else []
    return next((str(host) for host in reversed(hosts) if host), None)


def _state(record: SweepRecord, history: History, orders: Orders) -> str:
    """The sweep's state in W&B's words."""
    if orders.cancelled:
        return "CANCELED"
    if history.stop_reason:
        return "FINISHED"
    counts = history.counts()
    is_claimed = history.found_no_more or sum(counts.values()) >= (record.expected_trials or 0)
    if counts[RUNNING] or counts[QUEUED] or not is_claimed:
        return "PAUSED" if orders.paused else "RUNNING"
    return "FINISHED"


def _known_config(record: SweepRecord, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": record.name,
        "method": record.method,
        "metric": {"name": record.metric_name, "goal": record.metric_goal},
        "parameters": parameters,
    }


def _expected(config: Mapping[str, Any]) -> int | None:
    """How many runs a sweep will have: a grid's size, or the cap; None if it has no end of its own."""
    size: int | None = config.get("run_cap")
    specs = [spec for _, spec in flat_parameters(config) if "value" not in spec]
    if config.get("method") == "grid" and all("values" in spec for spec in specs):
        combinations = 1
        for spec in specs:
            combinations *= len(spec["values"])
        size = combinations if size is None else min(size, combinations)
    return size


def _web_address(url: str | None) -> str | None:
    """Only what a browser may follow: the page makes a link of it."""
    return url if url is not None and url.startswith(("http://", "https://")) else None
