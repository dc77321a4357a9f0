"""The law: a grid sweep runs exactly what Hydra's BasicSweeper would, whatever a server does to JSON and YAML."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hydra.errors import HydraException
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._errors import SearchSpaceError, SettingError
from hydra_plugins.hydra_wandb_sweeper._search_space import SearchSpace, build_search_space, wandb_names
from hydra_plugins.hydra_wandb_sweeper._settings import Settings
from hydra_plugins.hydra_wandb_sweeper._sweep_config import (
    Program,
    make_sweep_config,
    read_metric,
    read_template,
    to_yaml,
)
from hydra_plugins.hydra_wandb_sweeper._template import Form
from tests.unit.sweeper.conftest import HydraApp
from tests.unit.sweeper.settings import make_settings

PROGRAM = Program("train.py")


def build(
    app: HydraApp, *arguments: str, params: Any = None, sweep_file: Any = None, seed: int | None = 1
) -> SearchSpace:
    return build_search_space(
        sweep_file_parameters=sweep_file or {},
        params=params or {},
        arguments=arguments,
        config_loader=app.loader,
        seed=seed,
    )


def like_javascript(value: Any) -> Any:
    """What a server that reads numbers as doubles and writes the shortest form makes of a JSON value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(float(value))
    if isinstance(value, list):
        return [like_javascript(v) for v in value]
    if isinstance(value, dict):
        return {k: like_javascript(v) for k, v in value.items()}
    return value


def trips(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A sweep config after each journey that a server may send it on."""
    text = to_yaml(config)
    return {
        "yaml": yaml.safe_load(text),
        "json": json.loads(json.dumps(yaml.safe_load(text))),
        "javascript": json.loads(json.dumps(like_javascript(yaml.safe_load(text)))),
    }


def grid_runs(config: dict[str, Any]) -> list[list[str]]:
    """All overrides of a grid over a sweep config, as W&B enumerates it."""
    template = read_template(config)
    names = list(config["parameters"])
    values = [p["values"] if "values" in p else [p["value"]] for p in config["parameters"].values()]
    return [template.overrides(dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*values)]


def as_set(runs: Sequence[Sequence[str]]) -> set[tuple[str, ...]]:
    return {tuple(run) for run in runs}


DISCRETE_COMMAND_LINES = [
    # Hydra's documented examples (basic override syntax, multi-run, extended override syntax)
    ["a=1,2,3"],
    ["db=mysql,postgres", "a=1,2"],
    ["db=glob(*)"],
    ["db=glob([pg*,mysql],exclude=pg_old)"],
    ["a=range(1,3)"],
    ["a=range(3)"],
    ["a=range(0,10,3)"],
    ["a=range(10,0,-3)"],
    ["lr=range(0,1,0.25)"],
    ["lr=range(0.0,1.0,0.1)"],
    ["lr=float(range(1,4))"],
    ["a=choice(1,2,3)"],
    ["a=choice(1)"],
    ["a=shuffle(1,2,3)"],
    ["a=shuffle(range(1,5))"],
    ["a=sort(3,2,1)"],
    ["a=sort(3,2,1,reverse=true)"],
    ["a=sort(range(5,0,-1))"],
    ["a=tag(any_tag,choice(1,2))"],
    ["a=int(1.5,2.5)"],
    ["a=float(1,2)"],
    ["s=str(1,2)"],
    ["s=str(true,1.0,x)"],
    ["flag=bool(0,1)"],
    ["flag=true,false"],
    ["lst=[1,2],[3,4]"],
    ["lst=[],[1,[2,3]]"],
    ["+d={x:10},{x:20,y:{z:[1,a]}}"],
    ["n=null,1"],
    ["n=null,'null'"],
    ["n=1,1.0,'1',true,'true'"],
    ["n=0.0,0,false"],
    ["n=0.0,-0.0"],
    ["n=inf,-inf,nan,1e400"],
    ["lr=1e-3,1e-4,0.001"],
    ["lr=1e-05,1E5,1_000.5"],
    ["a=9007199254740993,9007199254740992"],
    ["s='a,b',c"],
    ["s='a=b','c:d','(e)','[f]','{g}'"],
    ["s=a\\,b,c\\ d"],
    ['s=\'it\\\'s\',"say \\"hi\\""'],
    ["s='a\\\\',b"],
    ["s='#x','a # b'"],
    ["s='${a}',${b.c}"],
    ["s=$a,$\\{b\\}"],
    ["s='grüß','日本','ключ=значение','🙂'"],
    ["s='',x"],
    ["s='  two  ',one"],
    ["s=x,'x',\"x\""],
    ["s=a/b,a.b,a-b,a*b,a@b,a%b,a|b,a?b,a+b"],
    ["s=1e-3x,1_0,0x10,on,off,yes,no,'~'"],
    ["+new=1,2"],
    ["++a=1,2", "++fresh=3,4"],
    ["+new=1", "a=1,2"],
    ["~b.d", "a=1,2"],
    ["~db", "a=1,2"],
    ["~lst=[1,2]", "a=1,2"],
    ["server@srv=nginx,apache"],
    ["+db@src=mysql,postgres", "+db@dst=mysql,postgres"],
    ["+model/nested=small,wide"],
    ["b.c=1,2", "b.d=x,y", "b.e.f=3"],
    ["b={c:1},{c:2}"],
    ["a=1", "a=2,3"],
    ["a=2,3", "b.c=1,2", "a=5"],
    ["a=1,1,2"],
    ["+x=1,2", "x=3"],
    ["s=", "a=1,2"],
    ["s='a\tb',c"],
    [],
    ["a=5"],
]


@pytest.mark.parametrize("arguments", DISCRETE_COMMAND_LINES, ids=" ".join)
def test_a_grid_runs_what_the_basic_sweeper_runs(app: HydraApp, arguments: list[str]) -> None:
    try:
        expected = app.basic_sweeper_runs(arguments)
    except HydraException as error:
        pytest.fail(f"not a command line that BasicSweeper accepts: {error}")
    config = make_sweep_config(make_settings(), build(app, *arguments), PROGRAM)
    for name, travelled in trips(config).items():
        runs = grid_runs(travelled)
        assert as_set(runs) == as_set(expected), name
        assert len(runs) == len(as_set(runs)), "a configuration must not run twice"
    for overrides in expected:
        assert app.compose(overrides).hydra.overrides.task == overrides


@pytest.mark.parametrize("arguments", DISCRETE_COMMAND_LINES, ids=" ".join)
def test_the_sweep_config_is_valid_by_wandb_s_schema(app: HydraApp, arguments: list[str]) -> None:
    validate_by_schema(make_sweep_config(make_settings(), build(app, *arguments), PROGRAM))


@pytest.mark.parametrize(
    "arguments", [["db=glob(*)", "a=1,2"], ["server@srv=nginx,apache"], ["lst=[1],[2,3]"]], ids=" ".join
)
def test_settings_sweep_as_the_same_overrides_do_on_the_command_line(app: HydraApp, arguments: list[str]) -> None:
    params = dict(argument.split("=", 1) for argument in arguments)
    config = make_sweep_config(make_settings(), build(app, params=params), PROGRAM)
    assert grid_runs(config) == app.basic_sweeper_runs(arguments)


def test_a_setting_that_is_no_override_is_refused_with_its_key_and_text(app: HydraApp) -> None:
    with pytest.raises(HydraException, match=r"lr=choice\("):
        build(app, params={"lr": "choice(1"})


def test_several_metrics_take_the_place_of_one_in_the_sweep_config(app: HydraApp) -> None:
    metrics = ({"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"})
    config = make_sweep_config(replace(make_settings(), metrics=metrics), build(app, "a=1,2"), PROGRAM)
    assert (config["metrics"], "metric" in config) == (list(metrics), False)
    assert read_metric(config) == metrics[0]
    validate_by_schema(config)


@cache
def wandb_schema() -> jsonschema.Draft7Validator | None:
    """W&B's JSON schema of sweep configs; None where its package can't be installed (it wants NumPy 1)."""
    # Not imported: that takes seconds and warns of Pydantic 1's end.
    spec = importlib.util.find_spec("sweeps")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "config" / "schema.json"
    return jsonschema.Draft7Validator(json.loads(path.read_text()))


def validate_by_schema(config: dict[str, Any]) -> None:
    if (schema := wandb_schema()) is not None:
        schema.validate(config)


# --- properties ---

WORDS = st.sampled_from(["a", "x1", "foo-bar", "True", "null", "nan", "1e5", "no", "0", "a/b", "."])
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


def quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


# Interpolations are tested by the table: most texts with `${` aren't valid ones.
NO_INTERPOLATION = TEXT.filter(lambda t: "${" not in t)
SCALARS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["true", "false", "null", "TRUE", "1.0", "1", "'1'", "'1.0'", "'true'", "1e0", "01", "-0.0", "0"]
    ),
    WORDS,
    NO_INTERPOLATION.map(quoted),
)
ELEMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda xs: f"[{','.join(xs)}]"),
        st.dictionaries(st.sampled_from(["k", "l m", "1"]), inner, max_size=2).map(
            lambda d: "{" + ",".join(f"{k}:{v}" for k, v in d.items()) + "}"
        ),
    ),
    max_leaves=4,
)
SWEEPS = st.one_of(
    st.lists(ELEMENTS, min_size=2, max_size=4).map(",".join),
    st.lists(ELEMENTS, min_size=1, max_size=3).map(lambda xs: f"choice({','.join(xs)})"),
    st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 3)).map(
        lambda t: f"range({min(t[0], t[1])},{max(t[0], t[1]) + 1},{t[2]})"
    ),
    st.tuples(st.integers(-5, 5), st.sampled_from(["0.1", "0.25", "1.5"])).map(
        lambda t: f"range({t[0]},{t[0] + 2},{t[1]})"
    ),
    st.lists(st.integers().map(str), min_size=2, max_size=4).map(lambda xs: f"sort({','.join(xs)})"),
    st.lists(st.integers().map(str), min_size=2, max_size=4).map(lambda xs: f"str({','.join(xs)})"),
)
COMMAND_LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["+p", "++q", "+r.s.t", "n", "+u"]), st.one_of(SWEEPS, ELEMENTS)).map("=".join),
        st.sampled_from(["db=mysql,postgres", "db=glob(p*)", "server@srv=nginx,apache", "~b.d", "a=7"]),
    ),
    max_size=4,
)


@given(COMMAND_LINES)
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@example(["n=1,1.0"])
@example(["+p=[1],[1.0]"])
def test_any_discrete_command_line_runs_what_the_basic_sweeper_runs(app: HydraApp, arguments: list[str]) -> None:
    try:
        expected = app.basic_sweeper_runs(arguments)
    except Exception:  # noqa: BLE001 (whatever BasicSweeper refuses is outside the law)
        assume(False)
    config = make_sweep_config(make_settings(), build(app, *arguments), PROGRAM)
    validate_by_schema(config)
    for name, travelled in trips(config).items():
        runs = grid_runs(travelled)
        assert as_set(runs) == as_set(expected), name
        assert len(runs) == len(as_set(runs))


# --- what values look like on the W&B page ---


@pytest.mark.parametrize(
    ("argument", "name", "values"),
    [
        ("optimizer.lr=0.1,0.01", "optimizer.lr", [0.1, 0.01]),
        ("model=mlp,cnn", "model", ["mlp", "cnn"]),
        ("a=1,2", "a", [1, 2]),
        ("flag=true,false", "flag", [True, False]),
        ("dropout=0.0,0.5,1.0", "dropout", [0.0, 0.5, 1.0]),
        ("s='a b','c d'", "s", ["a b", "c d"]),
        ("lst=[1,2],[3]", "lst", ["[1,2]", "[3]"]),
        ("n=null,1", "n", ["null", "1"]),
        ("n=1,'1'", "n", ["1", "'1'"]),
        ("+db@src=x,y", "db_src", ["x", "y"]),
    ],
)
def test_values_read_well_where_no_server_can_confuse_them(
    app: HydraApp, argument: str, name: str, values: list[Any]
) -> None:
    (parameter,) = build(app, argument).parameters
    assert parameter.slot.name == name
    assert parameter.spec["values"] == values
    assert [type(v) for v in parameter.spec["values"]] == [type(v) for v in values]


def test_fixed_overrides_are_part_of_the_sweep_s_record(app: HydraApp) -> None:
    config = make_sweep_config(make_settings(), build(app, "a=7", "lst=[1]", "~b.d", "s=x,y"), PROGRAM)
    assert config["parameters"] == {"a": {"value": 7}, "s": {"values": ["x", "y"]}}
    template = read_template(config)
    assert template.overrides({"a": 7, "s": "x"}) == ["a=7", "lst=[1]", "~b.d=null", "s=x"]


def test_a_value_listed_twice_runs_once_and_is_warned_of(app: HydraApp) -> None:
    space = build(app, "lr=1e-3,0.001,0.1")
    assert space.parameters[0].texts == ("0.001", "0.1")
    assert space.warnings == ("Parameter 'lr': 1 value(s) listed more than once; each configuration runs once.",)


def test_a_seed_decides_the_order_of_shuffled_values(app: HydraApp) -> None:
    orders = {build(app, "a=shuffle(range(0,50))", seed=seed).parameters[0].texts for seed in (1, 1, 2)}
    assert len(orders) == 2
    assert {frozenset(order) for order in orders} == {frozenset(map(str, range(50)))}


# --- continuous ---


@pytest.mark.parametrize(
    ("argument", "spec", "form"),
    [
        ("lr=interval(0,1)", {"distribution": "uniform", "min": 0.0, "max": 1.0}, Form.FLOAT),
        ("a=int(interval(1,10))", {"distribution": "int_uniform", "min": 1, "max": 10}, Form.INT),
        (
            "lr=tag(log,interval(1e-5,1e-1))",
            {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
            Form.FLOAT,
        ),
        (
            "lr=tag(log_uniform_values,interval(1e-5,1e-1))",
            {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
            Form.FLOAT,
        ),
        (
            "a=tag(log,int(interval(1,1000)))",
            {"distribution": "q_log_uniform_values", "min": 1, "max": 1000, "q": 1},
            Form.INT,
        ),
        (
            "a=int(tag(log,interval(1,1000)))",
            {"distribution": "q_log_uniform_values", "min": 1, "max": 1000, "q": 1},
            Form.INT,
        ),
        ("lr=tag(normal,interval(0,0.5))", {"distribution": "normal", "mu": 0.0, "sigma": 0.5}, Form.FLOAT),
        ("lr=tag(beta,interval(2,5))", {"distribution": "beta", "a": 2.0, "b": 5.0}, Form.FLOAT),
        (
            "lr=tag(q_uniform,'q=0.5',interval(0,5))",
            {"distribution": "q_uniform", "min": 0.0, "max": 5.0, "q": 0.5},
            Form.FLOAT,
        ),
        (
            "lr=tag(inv_log_uniform,interval(1,5))",
            {"distribution": "inv_log_uniform", "min": 1.0, "max": 5.0},
            Form.FLOAT,
        ),
    ],
)
def test_intervals_become_wandb_distributions(app: HydraApp, argument: str, spec: dict[str, Any], form: Form) -> None:
    (parameter,) = build(app, argument).parameters
    assert parameter.spec == spec
    assert parameter.slot.form is form
    settings = make_settings(method="random", run_cap=3)
    validate_by_schema(make_sweep_config(settings, build(app, argument), PROGRAM))


def test_a_sampled_value_keeps_its_type_whatever_json_made_of_it(app: HydraApp) -> None:
    space = build(app, "lr=interval(0,1)", "a=int(interval(1,9))")
    assert space.template.overrides({"lr": 1, "a": 3.0}) == ["lr=1.0", "a=3"]


@pytest.mark.parametrize(
    ("argument", "rule"),
    [
        ("lr=tag(nonsense,interval(0,1))", "unknown tag 'nonsense'"),
        ("lr=tag(normal,beta,interval(1,2))", "several distributions"),
        ("lr=tag(log,interval(0,1))", "min > 0"),
        ("lr=interval(2,1)", "min must not be above max"),
        ("a=int(tag(normal,interval(0,1)))", "no integer form"),
        ("lr=tag('q=x',interval(0,1))", "q must be a number"),
        ("lr=tag('q=1',interval(0,1))", "no step q"),
        ("lr=tag(q_normal,'q=0',interval(0,1))", "sigma must be >= 0 and q > 0"),
        ("lr=range(3,3)", "the sweep has no value; give it at least one"),
    ],
)
def test_an_interval_that_means_nothing_is_refused_with_its_key_and_the_rule(
    app: HydraApp, argument: str, rule: str
) -> None:
    with pytest.raises(SearchSpaceError, match=rule) as caught:
        build(app, argument)
    assert argument.partition("=")[0] in str(caught.value)


# --- params and sweep files ---


def test_the_three_sources_override_one_another_key_by_key(app: HydraApp) -> None:
    space = build(
        app,
        "b.c=5",
        sweep_file={"a": {"values": [1, 2]}, "b.c": {"value": 1}, "s": {"values": ["x", "y"]}},
        params={"a": "3,4", "lr": [0.1, 0.2], "n": {"min": 0, "max": 1.0}},
    )
    specs = {p.slot.name: dict(p.spec) for p in space.parameters}
    assert specs == {
        "a": {"values": [3, 4]},
        "b.c": {"value": 5},
        "s": {"values": ["x", "y"]},
        "lr": {"values": [0.1, 0.2]},
        "n": {"distribution": "uniform", "min": 0, "max": 1.0},
    }


def test_nested_wandb_parameters_become_dotted_keys(app: HydraApp) -> None:
    nested = {"b": {"parameters": {"c": {"values": [1, 2]}, "e": {"parameters": {"f": {"value": "x"}}}}}}
    space = build(app, sweep_file=nested)
    assert [p.slot.key for p in space.parameters] == ["b.c", "b.e.f"]


@pytest.mark.parametrize("value", ["1", "a,b", "null", "", "${a}", "x=y", "it's", "[1]", "a b", "1e-3", "c:\\d\\"])
def test_a_string_in_a_list_stays_that_string(app: HydraApp, value: str) -> None:
    (parameter,) = build(app, params={"s": [value, "other"]}).parameters
    assert app.task_config([f"s={parameter.texts[0]}"])["s"] == value


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"a": {"min": 0}}, "needs one of"),
        ({"a": {"min": 0, "max": 1, "distribution": "gaussian"}}, "not one of W&B's distributions"),
        ({"a": {"min": 0, "max": 1, "mu": 3}}, "doesn't take mu"),
        ({"a": {"min": 0, "distribution": "uniform"}}, "'uniform' needs max"),
        ({"a": {"min": 0.5, "max": 2, "distribution": "int_uniform"}}, "int_uniform needs integers"),
        ({"a": {"values": []}}, "at least one value"),
        ({"a": []}, "at least one"),
        ({"a": {"values": [1, 2], "probabilities": [0.5]}}, "list of 2 numbers"),
        ({"a": {"values": [1, 2], "probabilities": [0.5, 0.6]}}, "add up to 1"),
        ({"a": {"min": "x", "max": 1, "distribution": "uniform"}}, "must be a number"),
        ({"a": {"minimum": 0}}, "expected a W&B parameter"),
        ({"a": {"parameters": {"b": {"value": 1}}, "value": 3}}, "stand alone"),
    ],
)
def test_a_malformed_parameter_is_refused_with_its_key_and_the_rule(
    app: HydraApp, params: dict[str, Any], rule: str
) -> None:
    with pytest.raises(SearchSpaceError, match=rule):
        build(app, params=params)


# --- names ---


@given(st.lists(st.text(alphabet="ab+~@/:._-1", min_size=1, max_size=5), unique=True, max_size=8))
def test_wandb_names_are_valid_and_one_to_one(keys: list[str]) -> None:
    import re

    names = wandb_names(keys)
    assert len(set(names.values())) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name) for name in names.values())
    assert all(names[key] == key for key in keys if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", key))


def test_a_grid_over_an_interval_is_refused_by_name(app: HydraApp) -> None:
    with pytest.raises(SettingError, match=r"hydra.sweeper.method='grid'.*'lr'"):
        make_sweep_config(make_settings(method="grid"), build(app, "lr=interval(0,1)"), PROGRAM)


def test_a_random_search_without_an_end_is_refused(app: HydraApp) -> None:
    with pytest.raises(SettingError, match="run_cap"):
        make_sweep_config(make_settings(), build(app, "lr=interval(0,1)"), PROGRAM)


def test_the_method_follows_from_the_search_space(app: HydraApp) -> None:
    discrete: Settings = make_settings(run_cap=2)
    assert make_sweep_config(discrete, build(app, "a=1,2"), PROGRAM)["method"] == "grid"
    assert make_sweep_config(discrete, build(app, "lr=interval(0,1)"), PROGRAM)["method"] == "random"
