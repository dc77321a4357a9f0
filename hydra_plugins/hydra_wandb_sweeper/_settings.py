"""The user's settings, checked: what `hydra.sweeper` and a W&B sweep file say together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ._errors import SettingError

METHODS = ("grid", "random", "bayes")
DEFAULT_METRIC = "objective"

# Top-level keys of W&B's sweep configuration that mean something here; the others belong to W&B Launch.
_SWEEP_FILE_KEYS = frozenset(
    "program method metric metrics parameters early_terminate run_cap entity project name description command".split()  # noqa: SIM905
)


# Settings that no sweep file has, and that need no more than their rules.
_TAKEN_AS_THEY_ARE = (
    "shuffle",
    "trials",
    "seed",
    "server",
    "agents",
    "agents_per_job",
    "trials_per_agent",
    "isolation",
    "sdk_after_s",
    "snapshot_code",
    "wait",
    "max_retries",
    "max_failure_rate",
    "max_agent_restarts",
    "max_consecutive_failures",
    "agent_silence_min",
    "trial_time_min",
    "resumable",
    "server_patience_min",
    "server_job",
)


class SweepPath(NamedTuple):
    """Where a sweep is. entity and project are None where the user left them out."""

    entity: str | None
    project: str | None
    sweep_id: str


def is_url(sweep_path: str) -> bool:
    """True if a sweep is named by the URL of its page, which names its server, too."""
    return "://" in sweep_path


@dataclass(frozen=True)
class Settings:
    """Checked settings; the fields are those of config.WandbSweeperConf, merged with the sweep file.

    method is None where it depends on the search space; metric_name_given tells a chosen name from the default.
    join_url: the page's URL where the sweep to join is named by it.
    metrics: {name, goal} of each objective of a sweep that has several, else empty; the first of them is metric_name
    and metric_goal, by which a trial is called the best.
    """

    method: str | None
    metric_name: str
    metric_name_given: bool
    metric_goal: str
    metrics: tuple[Mapping[str, str], ...]
    params: Mapping[str, Any]
    trials: str | Sequence[Any] | None
    sweep_file_parameters: Mapping[str, Any]
    early_terminate: Mapping[str, Any] | None
    run_cap: int | None
    shuffle: bool
    seed: int | None
    entity: str | None
    project: str
    name: str
    description: str | None
    tags: tuple[str, ...]
    server: str
    server_job: bool
    join: SweepPath | None
    join_url: str | None
    agents: int | None
    agents_per_job: int
    trials_per_agent: int | None
    isolation: str
    sdk_after_s: float
    snapshot_code: bool
    wait: bool
    max_retries: int
    max_failure_rate: float
    max_agent_restarts: int
    max_consecutive_failures: int
    agent_silence_min: float | None
    trial_time_min: float | None
    resumable: bool
    server_patience_min: float


def read_settings(
    raw: Mapping[str, Any],
    *,
    job_name: str,
    load_sweep_file: Callable[[Path], Mapping[str, Any]],
) -> Settings:
    """Return checked settings.

    raw: the fields of WandbSweeperConf as plain containers. load_sweep_file: reads a YAML file to plain containers.
    Errors: SettingError with the field, its value and the rule.
    """
    _check(raw)
    file = _sweep_file(raw.get("sweep_file"), load_sweep_file)
    metrics = tuple({"name": m["name"], "goal": m.get("goal", "minimize")} for m in file.get("metrics") or ())
    chosen = {key: value for key, value in raw["metric"].items() if value is not None}
    if metrics and chosen:
        raise SettingError(
            "metric", chosen, "the sweep file has several `metrics`; leave it out, the first one counts"
        )
    metric = metrics[0] if metrics else {**(file.get("metric") or {}), **chosen}

    def merged(field: str) -> Any:
        return raw.get(field) if raw.get(field) is not None else file.get(field)

    settings = Settings(
        method=merged("method"),
        metric_name=metric.get("name") or DEFAULT_METRIC,
        metric_name_given=metric.get("name") is not None,
        metric_goal=metric.get("goal") or "minimize",
        metrics=metrics,
        params=dict(raw.get("params") or {}),
        sweep_file_parameters=dict(file.get("parameters") or {}),
        early_terminate=merged("early_terminate"),
        run_cap=merged("run_cap"),
        entity=merged("entity"),
        project=merged("project") or job_name,
        name=merged("name") or job_name,
        description=merged("description"),
        tags=tuple(raw["tags"] or ()),
        join=parse_sweep_path(raw["sweep_id"]) if raw["sweep_id"] is not None else None,
        join_url=raw["sweep_id"].strip() if is_url(raw["sweep_id"] or "") else None,
        **{field: raw[field] for field in _TAKEN_AS_THEY_ARE},
    )
    _check_merged(settings)
    if settings.join is not None:
        _check_join(raw, settings.join)
    return settings


def parse_sweep_path(text: str) -> SweepPath:
    """Parse ID, PROJECT/ID, ENTITY/PROJECT/ID, ENTITY/PROJECT/sweeps/ID or a sweep page's URL.

    The forms are those of `wandb agent` and `wandb.Api().sweep`. Errors: SettingError.
    """
    path = re.sub(r"^https?://[^/]+/", "", text.strip()).split("?")[0].strip("/")
    parts = path.split("/")
    if len(parts) == 4 and parts[2] == "sweeps":
        del parts[2]
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch(r"[^\s/]+", part) for part in parts):
        raise SettingError("sweep_id", text, "must be ID, PROJECT/ID, ENTITY/PROJECT/ID or the URL of a sweep's page")
    entity, project, sweep_id = ([None, None, *parts])[-3:]
    assert sweep_id is not None
    return SweepPath(entity, project, sweep_id)


def check_method(method: str, continuous: Mapping[str, Any], settings: Settings) -> None:
    """Check a method against the search space.

    continuous: W&B name -> parameter for those that a grid can't list. Errors: SettingError.
    """
    if method == "grid" and continuous:
        name, spec = next(iter(continuous.items()))
        raise SettingError(
            "method", method, f"a grid can't list '{name}' ({dict(spec)}); list its values or use method=random"
        )
    if method != "grid" and settings.shuffle:
        raise SettingError(
            "shuffle", True, f"is for a grid, whose combinations have an order; leave it out of {method}"
        )
    if method == "bayes" and settings.trials is not None:
        # W&B's optimiser would take lines that stand side by side for trials that are alike.
        raise SettingError(
            "method",
            method,
            "can't learn from hydra.sweeper.trials, which says what to run; use grid (each line once) or random",
        )
    if method != "grid" and settings.run_cap is None and settings.trials_per_agent is None:
        raise SettingError("method", method, "never ends by itself; set hydra.sweeper.run_cap (or trials_per_agent)")


def check_stoppable(settings: Settings, early_terminate: object) -> None:
    """Check that trials of a sweep with that `early_terminate` (None if it has none) can be stopped.

    W&B's SDK stops a run by an interrupt, which in the agent's own process is a Ctrl-C and would end the sweep.
    Errors: SettingError.
    """
    if early_terminate is not None and settings.isolation == "none":
        raise SettingError(
            "isolation", settings.isolation, "can't stop a trial early (early_terminate): leave one of them out"
        )


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    text: str


def _is_int(minimum: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= minimum


def _is_str(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", value))


def _one_of(*allowed: str) -> _Rule:
    return _Rule(lambda v: v in allowed, f"must be one of {', '.join(allowed)}")


_POSITIVE = _Rule(_is_int(1), "must be an integer >= 1")
_TEXT = _Rule(_is_str, "must be a non-empty text")
_NAME = _Rule(_is_name, "must be 1 to 128 letters, digits, '_', '-' or '.'")

_OPTIONAL_RULES: Mapping[str, _Rule] = {
    "method": _one_of(*METHODS),
    "params": _Rule(lambda v: isinstance(v, Mapping), "must map Hydra keys to values"),
    "trials": _Rule(
        lambda v: isinstance(v, list) or _is_str(v),
        "must be a list of trials, each a line of overrides, or the name of a file that has a line per trial",
    ),
    "sweep_file": _TEXT,
    "early_terminate": _Rule(
        lambda v: isinstance(v, Mapping) and v.get("type") == "hyperband",
        "must be a mapping with type: hyperband (the only kind W&B has)",
    ),
    "run_cap": _POSITIVE,
    "trial_time_min": _Rule(
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v > 0, "must be a number of minutes > 0"
    ),
    "agent_silence_min": _Rule(
        # A request to a server that doesn't answer takes up to a minute.
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v >= 1,
        "must be a number of minutes >= 1",
    ),
    "seed": _Rule(_is_int(0), "must be an integer >= 0"),
    "entity": _NAME,
    "project": _NAME,
    "name": _TEXT,
    "description": _TEXT,
    "sweep_id": _TEXT,
    "agents": _POSITIVE,
    "trials_per_agent": _POSITIVE,
}
_RULES: Mapping[str, _Rule] = {
    "tags": _Rule(
        lambda v: all(isinstance(t, str) and 1 <= len(t) <= 64 and "," not in t for t in v),
        "must be a list of texts of 1 to 64 characters without commas (W&B's rule)",
    ),
    "server": _Rule(
        lambda v: v in ("auto", "wandb", "local") or bool(re.match(r"https?://[^/]+", str(v))),
        "must be auto, wandb, local or a URL that starts with http:// or https://",
    ),
    "shuffle": _Rule(lambda v: isinstance(v, bool), "must be true or false"),
    "server_job": _Rule(lambda v: isinstance(v, bool), "must be true or false"),
    "agents_per_job": _POSITIVE,
    "isolation": _one_of("fork", "spawn", "none"),
    "sdk_after_s": _Rule(
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < math.inf,
        "must be a number of seconds >= 0",
    ),
    "snapshot_code": _Rule(lambda v: isinstance(v, bool), "must be true or false"),
    "wait": _Rule(lambda v: isinstance(v, bool), "must be true or false"),
    "max_retries": _Rule(_is_int(0), "must be an integer >= 0"),
    "max_agent_restarts": _Rule(_is_int(0), "must be an integer >= 0"),
    "resumable": _Rule(lambda v: isinstance(v, bool), "must be true or false"),
    "max_failure_rate": _Rule(
        lambda v: isinstance(v, int | float) and not math.isnan(v) and 0 <= v <= 1, "must be a number from 0 to 1"
    ),
    "max_consecutive_failures": _POSITIVE,
    "server_patience_min": _Rule(lambda v: isinstance(v, int | float) and v >= 0, "must be a number of minutes >= 0"),
}
_METRIC_RULES: Mapping[str, _Rule] = {"name": _TEXT, "goal": _one_of("minimize", "maximize")}


def _check(raw: Mapping[str, Any]) -> None:
    for field, rule in _RULES.items():
        if not rule.holds(raw[field]):
            raise SettingError(field, raw[field], rule.text)
    for field, rule in _OPTIONAL_RULES.items():
        if raw.get(field) is not None and not rule.holds(raw[field]):
            raise SettingError(field, raw[field], rule.text)
    for field, rule in _METRIC_RULES.items():
        if raw["metric"].get(field) is not None and not rule.holds(raw["metric"][field]):
            raise SettingError(f"metric.{field}", raw["metric"][field], rule.text)


def _sweep_file(path: str | None, load: Callable[[Path], Mapping[str, Any]]) -> Mapping[str, Any]:
    if path is None:
        return {}
    if not Path(path).is_file():
        raise SettingError("sweep_file", path, f"no such file (looked for {Path(path).absolute()})")
    file = load(Path(path))
    if not isinstance(file, Mapping) or not isinstance(file.get("parameters"), Mapping):
        raise SettingError("sweep_file", path, "must be a W&B sweep file: YAML with a mapping `parameters`")
    if unknown := set(file) - _SWEEP_FILE_KEYS:
        raise SettingError(
            "sweep_file",
            path,
            f"unknown key(s) {', '.join(sorted(map(str, unknown)))}; known: {', '.join(sorted(_SWEEP_FILE_KEYS))}",
        )
    for field, rule in _OPTIONAL_RULES.items():
        if file.get(field) is not None and not rule.holds(file[field]):
            raise SettingError("sweep_file", path, f"{field}: {file[field]!r} {rule.text}")
    _check_file_metrics(path, file)
    return file


def _check_file_metrics(path: str, file: Mapping[str, Any]) -> None:
    metric, metrics = file.get("metric") or {}, file.get("metrics")
    if metrics is not None:
        # W&B's own rules.
        if not isinstance(metrics, list) or len(metrics) < 2 or not all(isinstance(m, Mapping) for m in metrics):
            rule = "must be a list of at least two {name: …, goal: …}; for one use `metric`"
            raise SettingError("sweep_file", path, f"metrics: {metrics!r} {rule}")
        if metric:
            raise SettingError("sweep_file", path, "has `metric` and `metrics`; W&B takes one or the other")
    named = [(f"metrics[{i}]", {"name": "", **m}) for i, m in enumerate(metrics or ())]
    for key, item in [("metric", metric), *named]:
        for field, rule_of_field in _METRIC_RULES.items():
            if item.get(field) is not None and not rule_of_field.holds(item[field]):
                raise SettingError("sweep_file", path, f"{key}.{field}: {item[field]!r} {rule_of_field.text}")


def _check_merged(settings: Settings) -> None:
    if settings.early_terminate is not None:
        known = {"type", "min_iter", "max_iter", "s", "eta", "strict"}
        if unknown := set(settings.early_terminate) - known:
            raise SettingError(
                "early_terminate",
                dict(settings.early_terminate),
                f"unknown key(s) {', '.join(sorted(unknown))}; hyperband takes {', '.join(sorted(known))}",
            )
        if not settings.metric_name_given:
            raise SettingError(
                "early_terminate",
                dict(settings.early_terminate),
                "needs hydra.sweeper.metric.name, the metric that trials log while they run",
            )
        check_stoppable(settings, settings.early_terminate)
    if settings.agents is not None and settings.agents % settings.agents_per_job:
        raise SettingError(
            "agents",
            settings.agents,
            f"must be a multiple of hydra.sweeper.agents_per_job={settings.agents_per_job}",
        )


def _check_join(raw: Mapping[str, Any], path: SweepPath) -> None:
    """The path of a sweep has its place; another one beside it would be ignored silently."""
    for field in ("entity", "project"):
        given, of_path = raw.get(field), getattr(path, field)
        if given is not None and of_path is not None and given != of_path:
            raise SettingError(field, given, f"contradicts hydra.sweeper.sweep_id={raw['sweep_id']}; leave it out")
