"""The search space: Hydra's multirun overrides, `hydra.sweeper.params` and W&B sweep files, as one thing.

What a discrete space enumerates is exactly what Hydra's BasicSweeper would run: the same override texts in the same
order (a later override of the same key takes the place of the earlier one).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, OverrideType, RangeSweep
from hydra.errors import OverrideParseException

from ._distributions import DISCRETE, check_spec, implied_distribution, interval_spec
from ._errors import SearchSpaceError
from ._template import Form, Slot, Template
from ._values import are_distinguishable, canonical, is_json_scalar, plain, render

if TYPE_CHECKING:
    from ._trial_list import TrialLine

# The template travels on a command line when W&B's own agent runs the sweep; Linux limits one argument to 128 KiB.
_MAX_TEXTS_CHARS = 16_384

# The list of trials as one parameter. Its key can't be one of Hydra's, which have no spaces.
_TRIALS_KEY = "trial overrides"

_SPEC_KEYS = frozenset(
    ["distribution", "value", "values", "probabilities", "min", "max", "mu", "sigma", "q", "a", "b", "parameters"]
)


@dataclass(frozen=True)
class Parameter:
    """One parameter: where its values go (`slot`) and what they may be (`spec`, a W&B parameter).

    texts: for discrete parameters the override text of each value, in the order of `spec`'s values.
    """

    slot: Slot
    spec: Mapping[str, Any]
    texts: tuple[str, ...] = ()

    @property
    def is_discrete(self) -> bool:
        """True if its values can be listed."""
        return bool(self.texts)

    @property
    def is_fixed(self) -> bool:
        """True if every trial has the same value."""
        return "value" in self.spec


@dataclass(frozen=True)
class SearchSpace:
    """items: fixed override texts and parameters, in the order in which a trial applies them.

    warnings: sentences for the user (values listed twice).
    """

    items: tuple[str | Parameter, ...]
    warnings: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, fixed ones included."""
        return tuple(item for item in self.items if isinstance(item, Parameter))

    @property
    def swept(self) -> tuple[Parameter, ...]:
        """The parameters that differ between trials."""
        return tuple(p for p in self.parameters if not p.is_fixed)

    @property
    def template(self) -> Template:
        """How claimed values become overrides."""
        return Template(tuple(x if isinstance(x, str) else x.slot for x in self.items))

    @property
    def is_discrete(self) -> bool:
        """True if the space can be enumerated value by value."""
        return all(p.is_discrete for p in self.parameters)

    @property
    def grid_size(self) -> int | None:
        """How many configurations a grid over it has; None if it can't be enumerated."""
        size = 1
        for parameter in self.parameters:
            if not parameter.is_discrete:
                return None
            size *= len(parameter.texts)
        return size


def build_search_space(
    *,
    sweep_file_parameters: Mapping[str, Any],
    params: Mapping[str, Any],
    arguments: Sequence[str],
    config_loader: ConfigLoader,
    trials: Sequence[TrialLine] = (),
    seed: int | None = None,
) -> SearchSpace:
    """Merge the three sources, weakest first, into one search space; a list of trials stands before them.

    sweep_file_parameters: `parameters` of a W&B sweep file. params: `hydra.sweeper.params`; a string is Hydra
    override text ('1,2,3', 'interval(0,1)'), a list lists values, a mapping is a W&B parameter, another scalar is
    fixed. arguments: overrides from the command line. trials: each with everything else that is swept; as the first
    parameter they vary slowest. seed: for shuffle(…).
    Errors: SearchSpaceError, SettingError for a key in `trials` and elsewhere, or Hydra's own OverrideParseException
    for text that isn't an override.
    """
    rng = random.Random(seed)
    parser = OverridesParser.create(config_loader=config_loader)
    entries: dict[str, _Entry] = {}
    for key, spec in _flatten(sweep_file_parameters):
        _put(entries, _parse(parser, f"{key}=null"), _spec_entry(key, spec))
    for key, value in _flatten(params):
        if isinstance(value, str):
            override = _parse(parser, f"{key}={value}")
            _put(entries, override, _override_entry(override, rng))
        else:
            _put(entries, _parse(parser, f"{key}=null"), _value_entry(key, value))
    for override in parser.parse_overrides(list(arguments)):
        _put(entries, override, _override_entry(override, rng))
    if trials:
        from ._trial_list import refuse_shared_keys

        refuse_shared_keys(trials, entries)
    return _assemble(entries, trials)


def _parse(parser: OverridesParser, text: str) -> Override:
    # Hydra's parse_override() doesn't give the override the config loader, which glob() asks for the group's options.
    try:
        (override,) = parser.parse_overrides([text])
    except OverrideParseException as error:
        # On the command line Hydra itself says which one it is.
        raise OverrideParseException(text, f"Error parsing override '{text}'\n{error}") from error
    return override


@dataclass(frozen=True, eq=False, repr=False)
class _Entry:
    """A key's meaning before it has a W&B name: either fixed `literal` text or the makings of a Parameter."""

    literal: str | None = None
    spec: Mapping[str, Any] | None = None
    form: Form = Form.JSON
    slot_texts: Mapping[str, str] | None = None
    texts: tuple[str, ...] = ()
    duplicates: int = 0


def _put(entries: dict[str, _Entry], override: Override, entry: _Entry) -> None:
    # Assigning to a key that is there keeps its place, as in BasicSweeper.split_arguments.
    entries[override.get_key_element()] = entry


def _flatten(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) with W&B's nested `parameters` taken apart."""
    for name, value in parameters.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and isinstance(value.get("parameters"), Mapping):
            if set(value) != {"parameters"}:
                raise SearchSpaceError(
                    key, dict(value), "nested `parameters` stand alone; move the other keys inside"
                )
            yield from _flatten(value["parameters"], f"{key}.")
        else:
            yield key, value


def _value_entry(key: str, value: Any) -> _Entry:
    """An entry of hydra.sweeper.params that isn't a string."""
    if isinstance(value, Mapping):
        return _spec_entry(key, value)
    if isinstance(value, list):
        if not value:
            raise SearchSpaceError(key, value, "a list of values needs at least one")
        return _discrete_entry([render(v) for v in value], value)
    return _fixed_entry(key, render(value), value)


def _spec_entry(key: str, spec: Any) -> _Entry:
    if not isinstance(spec, Mapping) or not set(spec) <= _SPEC_KEYS:
        raise SearchSpaceError(
            key,
            spec,
            "expected a W&B parameter, a mapping with keys among " + ", ".join(sorted(_SPEC_KEYS)),
        )
    form = check_spec(key, spec)
    if "values" in spec:
        values = list(spec["values"])
        extra = {k: v for k, v in spec.items() if k not in ("values", "distribution")}
        return _discrete_entry([render(v) for v in values], values, extra)
    if "value" in spec:
        return _fixed_entry(key, render(spec["value"]), spec["value"])
    # W&B's own client fills in the distribution before it sends a sweep, so servers may rely on it.
    return _Entry(spec={"distribution": implied_distribution(key, spec), **spec}, form=form)


def _override_entry(override: Override, rng: random.Random) -> _Entry:
    key = override.get_key_element()
    if not override.is_sweep_override():
        text = override.get_value_element_as_str()
        if override.type is OverrideType.DEL or override.is_hydra_override():
            return _Entry(literal=f"{key}={text}")
        return _fixed_entry(key, text, plain(override.value()))
    if override.is_discrete_sweep():
        return _discrete_entry(*_enumerate(override, rng))
    interval = override.value()
    assert isinstance(interval, IntervalSweep)  # Hydra has no other kind of sweep
    assert interval.start is not None
    assert interval.end is not None
    integers = isinstance(interval.start, int) and isinstance(interval.end, int)
    spec, form = interval_spec(key, interval.start, interval.end, interval.tags, integers=integers)
    return _Entry(spec=spec, form=form)


def _enumerate(override: Override, rng: random.Random) -> tuple[list[str], list[Any]]:
    """Return the override texts and the plain values of a discrete sweep, shuffled by `rng` if it says so."""
    sweep = override.value()
    shuffled = False
    if isinstance(sweep, ChoiceSweep | RangeSweep) and sweep.shuffle:
        shuffled = True
        # Hydra shuffles with the global generator at each iteration: texts and values would part ways, and `seed`
        # would mean nothing.
        sweep.shuffle = False
    texts = list(override.sweep_string_iterator())
    pairs = list(zip(texts, (plain(v) for v in override.sweep_iterator()), strict=True))
    if shuffled:
        rng.shuffle(pairs)
    if not pairs:
        raise SearchSpaceError(
            override.get_key_element(), override.input_line, "the sweep has no value; give it at least one"
        )
    return [text for text, _ in pairs], [value for _, value in pairs]


def _fixed_entry(key: str, text: str, value: Any) -> _Entry:
    if not is_json_scalar(value):
        return _Entry(literal=f"{key}={text}")
    return replace(_discrete_entry([text], [value]), spec={"value": value})


def _discrete_entry(texts: list[str], values: Sequence[Any], extra: Mapping[str, Any] | None = None) -> _Entry:
    """An entry for listed values, each with its exact override text; equal texts are merged."""
    chosen = list(zip(texts, values, strict=True))
    if not extra:  # probabilities belong to places in the list: merge none
        chosen = list(dict(chosen).items())
    unique_texts = tuple(text for text, _ in chosen)
    unique_values = [value for _, value in chosen]
    form, slot_texts = _wire_form(unique_texts, unique_values)
    wire = list(unique_texts) if form is Form.TEXT else unique_values
    return _Entry(
        spec={"values": wire, **(extra or {})},
        form=form,
        slot_texts=slot_texts,
        texts=unique_texts,
        duplicates=len(texts) - len(unique_texts),
    )


def _wire_form(texts: Sequence[str], values: Sequence[Any]) -> tuple[Form, dict[str, str]]:
    """Choose how values travel: as themselves where no server can confuse them, else as override text."""
    if not all(is_json_scalar(v) for v in values) or not are_distinguishable(values):
        return Form.TEXT, {}
    form = _uniform_form(values)
    slot = Slot("", "", form)
    exact = {}
    for text, value in zip(texts, values, strict=True):
        integral = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
        # In a list of mixed types an integral number doesn't tell its own type once a server rewrote 1.0 as 1.
        if slot.value_text(value) != text or (integral and form is Form.JSON):
            exact[canonical(value)] = text
    if sum(map(len, exact.values())) > _MAX_TEXTS_CHARS:
        return Form.TEXT, {}
    return form, exact


def _uniform_form(values: Sequence[Any]) -> Form:
    if all(type(v) is float for v in values):
        return Form.FLOAT
    if all(type(v) is int for v in values):
        return Form.INT
    return Form.JSON


def _assemble(entries: Mapping[str, _Entry], trials: Sequence[TrialLine]) -> SearchSpace:
    names = wandb_names([*entries, _TRIALS_KEY])
    items: list[str | Parameter] = []
    warnings = []
    if trials:
        # The lines themselves, not their numbers: they are what a table of runs should show, and with numbers the
        # agents would need a table of lines, in an argument of `command`, which Linux limits.
        lines = tuple(trial.text for trial in trials)
        slot = Slot(names[_TRIALS_KEY], "hydra.sweeper.trials", Form.LINE)
        items.append(Parameter(slot, {"values": list(lines)}, lines))
    for key, entry in entries.items():
        if entry.literal is not None:
            items.append(entry.literal)
            continue
        assert entry.spec is not None
        slot = Slot(names[key], key, entry.form, entry.slot_texts or {})
        items.append(Parameter(slot, entry.spec, entry.texts))
        if entry.duplicates:
            warnings.append(
                f"Parameter '{key}': {entry.duplicates} value(s) listed more than once; each configuration runs once."
            )
    return SearchSpace(tuple(items), tuple(warnings))


def wandb_names(keys: Iterable[str]) -> dict[str, str]:
    """Return Hydra key element -> W&B parameter name, one to one.

    W&B allows [A-Za-z_][A-Za-z0-9_.-]*. Keys of that form stay as they are; in others the prefix (+ ++ ~) goes and
    other characters become '_'; a name that is taken gets a number.
    """
    keys = list(keys)
    names = {key: key for key in keys if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", key)}
    taken = set(names.values())
    for key in keys:
        if key in names:
            continue
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", key.lstrip("+~"))
        if not re.match(r"[A-Za-z_]", stem):
            stem = f"_{stem}"
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        names[key] = name
        taken.add(name)
    return names


def is_listable(spec: Mapping[str, Any]) -> bool:
    """True if a W&B parameter of a sweep made elsewhere lists its values."""
    return "values" in spec or "value" in spec or spec.get("distribution") in DISCRETE
