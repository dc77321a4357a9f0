"""Sweep data from what there is: a sweep directory's ledger, or only the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from wandb_sweep_server.importance import is_number

from ._client import RunInfo, SweepInfo
from ._control import Control, Orders
from ._history import History
from ._ledger import EventReader, Ledger, SweepRecord, in_batches
from ._outcome import FAILED, FINISHED, STOPPED, numbers
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


def ledger_data(ledger: Ledger, now: float, server: SweepInfo | None = None) -> dict[str, Any]:
    """Return the data of the sweep in a directory. now: seconds since the epoch.

    server: what the server says of the sweep, None if it can't be asked; then the config has only the parts that the
    ledger knows.
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
        config=server.config if server is not None else _known_config(record),
    )
    values = value_reader(record.template, {"parameters": record.parameters}, number_or_text)
    trials = [history.trials[number] for number in sorted(history.trials)]
    runs = [_of_trial(trial, timeline.last[trial.trial.number], record, history, values) for trial in trials]
    return sweep_data(entry, runs, timeline.agents, now=now)


def server_data(info: SweepInfo, url: str, runs: Iterable[RunInfo], now: float) -> dict[str, Any]:
    """Return the data of a sweep of which only the server is known. url: of its page. now: seconds since the epoch.

    W&B doesn't tell which agent had a run.
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
    return sweep_data(entry, [of_run(run, values(run.config)) for run in runs], (), now=now)


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


def of_run(run: RunInfo, parameters: Mapping[str, Any]) -> RunEntry:
    """Return what a server says of a run. parameters: see RunEntry."""
    error = run.summary.get("trial_error")
    return RunEntry(
        run_id=run.run_id,
        name=run.name or run.run_id,
        state=run.state,
        began_at=run.created_at,
        ended_at=run.heard_at if run.state in _ENDED else None,
        duration_s=_runtime_s(run.summary),
        host=_host(run.config),
        agent=None,
        # The last line of a traceback is the error itself.
        reason=str(error).strip().splitlines()[-1] if error and str(error).strip() else None,
        parameters=parameters,
        metrics=numbers(run.summary),
    )


def _runtime_s(summary: Mapping[str, Any]) -> float | None:
    own = summary.get("_wandb")
    found = summary.get("_runtime", own.get("runtime") if isinstance(own, dict) else None)
    return found if is_number(found) else None


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


def _known_config(record: SweepRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "method": record.method,
        "metric": {"name": record.metric_name, "goal": record.metric_goal},
        "parameters": record.parameters,
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
