"""W&B's parameter distributions: which there are, what they need, and how Hydra's intervals name them.

Facts: W&B's sweep configuration reference (docs.wandb.ai, "Sweep configuration options", distributions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ._errors import SearchSpaceError
from ._template import Form


@dataclass(frozen=True)
class Distribution:
    """required/optional: keys of the W&B parameter besides `distribution`.

    bounds: the two keys that Hydra's interval(a, b) fills. form: what a sampled value is.
    positive: both bounds must be > 0.
    """

    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    bounds: tuple[str, str] | None = None
    form: Form = Form.FLOAT
    positive: bool = False


def _between(*optional: str, form: Form = Form.FLOAT, positive: bool = False) -> Distribution:
    return Distribution(frozenset({"min", "max"}), frozenset(optional), ("min", "max"), form, positive)


def _bell(*optional: str) -> Distribution:
    return Distribution(frozenset(), frozenset({"mu", "sigma", *optional}), ("mu", "sigma"))


def _beta(*optional: str) -> Distribution:
    return Distribution(frozenset(), frozenset({"a", "b", *optional}), ("a", "b"))


DISTRIBUTIONS: Mapping[str, Distribution] = {
    "constant": Distribution(frozenset({"value"}), form=Form.JSON),
    "categorical": Distribution(frozenset({"values"}), form=Form.JSON),
    "categorical_w_probabilities": Distribution(frozenset({"values", "probabilities"}), form=Form.JSON),
    "int_uniform": _between(form=Form.INT),
    "uniform": _between(),
    "q_uniform": _between("q"),
    "log_uniform": _between(),
    "log_uniform_values": _between(positive=True),
    "q_log_uniform": _between("q"),
    "q_log_uniform_values": _between("q", positive=True),
    "inv_log_uniform": _between(),
    "inv_log_uniform_values": _between(positive=True),
    "normal": _bell(),
    "q_normal": _bell("q"),
    "log_normal": _bell(),
    "q_log_normal": _bell("q"),
    "beta": _beta(),
    "q_beta": _beta("q"),
}

DISCRETE = frozenset({"constant", "categorical", "categorical_w_probabilities"})

# `log` is the tag of Hydra's Optuna sweeper.
_TAG_ALIASES = {"log": "log_uniform_values"}
# What int(interval(…)) makes of a distribution of floats: W&B has no integer twin of the others.
_INTEGER_TWIN = {
    "uniform": "int_uniform",
    "int_uniform": "int_uniform",
    "log_uniform_values": "q_log_uniform_values",
    **{name: name for name in DISTRIBUTIONS if name.startswith("q_")},
}


def interval_spec(
    key: str, start: float, end: float, tags: Iterable[str], *, integers: bool
) -> tuple[dict[str, Any], Form]:
    """Return the W&B parameter of Hydra's `tag(…, interval(start, end))`, and the form of its values.

    tags: at most one distribution name (or `log`), and optionally 'q=<step>'. For normal and log_normal the interval
    is (mu, sigma), for beta (a, b). integers: the interval was cast with int(); both ends are then possible values.
    Errors: SearchSpaceError naming the key and the rule.
    """
    described = f"interval({start},{end})"
    name, q = _read_tags(key, described, tags)
    if integers:
        if name not in _INTEGER_TWIN:
            raise SearchSpaceError(key, f"int({described})", f"'{name}' has no integer form; leave out int()")
        name = _INTEGER_TWIN[name]
        if "q" in DISTRIBUTIONS[name].optional:
            q = 1 if q is None else q
    distribution = DISTRIBUTIONS[name]
    assert distribution.bounds is not None  # _read_tags only returns names with bounds
    low, high = distribution.bounds
    spec: dict[str, Any] = {"distribution": name, low: start, high: end}
    if q is not None:
        if "q" not in distribution.optional:
            raise SearchSpaceError(key, described, f"'{name}' has no step q; use tag(q_…) or leave q out")
        spec["q"] = q
    return spec, check_spec(key, spec) if not integers else Form.INT


def _read_tags(key: str, described: str, tags: Iterable[str]) -> tuple[str, float | None]:
    names, q = [], None
    for tag in sorted(tags):
        if tag.startswith("q="):
            q = _number_tag(key, tag)
        else:
            names.append(_TAG_ALIASES.get(tag, tag))
    usable = sorted(n for n, d in DISTRIBUTIONS.items() if d.bounds)
    for name in names:
        if name not in usable:
            raise SearchSpaceError(
                key, described, f"unknown tag '{name}'; known: log, 'q=<step>', {', '.join(usable)}"
            )
    if len(names) > 1:
        raise SearchSpaceError(key, described, f"tags name several distributions ({', '.join(names)}); name one")
    return (names[0] if names else "uniform"), q


def _number_tag(key: str, tag: str) -> float:
    text = tag.removeprefix("q=")
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise SearchSpaceError(key, f"tag '{tag}'", "q must be a number, e.g. tag(q_uniform, 'q=0.5', …)") from None


def check_spec(key: str, spec: Mapping[str, Any]) -> Form:
    """Check a W&B parameter (not a nested one) and return the form of its values.

    Errors: SearchSpaceError naming the key, the value and the rule.
    """
    name = implied_distribution(key, spec)
    if name not in DISTRIBUTIONS:
        raise SearchSpaceError(
            key,
            f"distribution: {name}",
            f"not one of W&B's distributions: {', '.join(sorted(DISTRIBUTIONS))}",
        )
    distribution = DISTRIBUTIONS[name]
    given = set(spec) - {"distribution"}
    if missing := distribution.required - given:
        raise SearchSpaceError(key, dict(spec), f"'{name}' needs {', '.join(sorted(missing))}")
    if unknown := given - distribution.required - distribution.optional:
        allowed = ", ".join(sorted(distribution.required | distribution.optional)) or "nothing"
        raise SearchSpaceError(
            key, dict(spec), f"'{name}' doesn't take {', '.join(sorted(unknown))}; it takes {allowed}"
        )
    if "values" in given:
        _check_values(key, spec)
    else:
        _check_numbers(key, spec, distribution)
    if name == "q_uniform" and all(isinstance(spec.get(k, 1), int) for k in ("min", "max", "q")):
        return Form.INT
    return distribution.form


def implied_distribution(key: str, spec: Mapping[str, Any]) -> str:
    """Return the distribution of a W&B parameter, by W&B's rules where it isn't given."""
    if "distribution" in spec:
        return str(spec["distribution"])
    if "probabilities" in spec:
        return "categorical_w_probabilities"
    if "values" in spec:
        return "categorical"
    if "value" in spec:
        return "constant"
    if "min" in spec and "max" in spec:
        both_int = all(isinstance(spec[k], int) and not isinstance(spec[k], bool) for k in ("min", "max"))
        return "int_uniform" if both_int else "uniform"
    raise SearchSpaceError(
        key, dict(spec), "a W&B parameter needs one of value, values, min and max, distribution or parameters"
    )


def _check_values(key: str, spec: Mapping[str, Any]) -> None:
    values = spec["values"]
    if not isinstance(values, list) or not values:
        raise SearchSpaceError(key, f"values: {values}", "must be a list of at least one value")
    probabilities = spec.get("probabilities")
    if probabilities is None:
        return
    if not isinstance(probabilities, list) or len(probabilities) != len(values):
        raise SearchSpaceError(key, f"probabilities: {probabilities}", f"must be a list of {len(values)} numbers")
    if not all(_is_number(p) and p >= 0 for p in probabilities) or abs(sum(probabilities) - 1) > 1e-6:
        raise SearchSpaceError(key, f"probabilities: {probabilities}", "must be numbers >= 0 that add up to 1")


def _check_numbers(key: str, spec: Mapping[str, Any], distribution: Distribution) -> None:
    for name in set(spec) - {"distribution", "value"}:
        if not _is_number(spec[name]):
            raise SearchSpaceError(key, f"{name}: {spec[name]!r}", "must be a number")
        if distribution.form is Form.INT and not isinstance(spec[name], int):
            raise SearchSpaceError(key, f"{name}: {spec[name]!r}", "int_uniform needs integers")
    if "min" in spec:
        if spec["min"] > spec["max"]:
            raise SearchSpaceError(key, f"min {spec['min']}, max {spec['max']}", "min must not be above max")
        if distribution.positive and spec["min"] <= 0:
            raise SearchSpaceError(
                key,
                f"min: {spec['min']}",
                "a log distribution of values needs min > 0 (log_uniform takes exponents)",
            )
    if spec.get("sigma", 0) < 0 or spec.get("q", 1) <= 0:
        raise SearchSpaceError(key, dict(spec), "sigma must be >= 0 and q > 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
