"""`hydra.sweeper.trials`: what a line may say, and that it runs what the same line would on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hydra_plugins.hydra_wandb_sweeper._errors import SettingError, SweepError
from hydra_plugins.hydra_wandb_sweeper._join import fixed_overrides
from hydra_plugins.hydra_wandb_sweeper._search_space import SearchSpace, build_search_space
from hydra_plugins.hydra_wandb_sweeper._sweep_config import make_sweep_config, read_template
from hydra_plugins.hydra_wandb_sweeper._trial_line import join_line, line_values, split_line
from hydra_plugins.hydra_wandb_sweeper._trial_list import TrialLine, read_trials
from hydra_plugins.hydra_wandb_sweeper._validate import validate
from tests.unit.sweeper.conftest import HydraApp
from tests.unit.sweeper.settings import make_settings
from tests.unit.sweeper.test_search_space import (
    ELEMENTS,
    PROGRAM,
    grid_runs,
    like_javascript,
    trips,
    validate_by_schema,
)


def read(app: HydraApp, trials: Any) -> tuple[TrialLine, ...]:
    return read_trials(trials, app.loader)


def read_file(app: HydraApp, content: str) -> tuple[TrialLine, ...]:
    return read_trials("trials.txt", app.loader, lambda _path: content)


def space_of(app: HydraApp, trials: Any, *arguments: str, params: Any = None) -> SearchSpace:
    return build_search_space(
        sweep_file_parameters={},
        params=params or {},
        arguments=arguments,
        config_loader=app.loader,
        trials=read(app, trials),
        seed=1,
    )


def config_of(app: HydraApp, trials: Any, *arguments: str, **changes: Any) -> dict[str, Any]:
    changed = make_settings(trials=trials, **changes)
    return make_sweep_config(changed, space_of(app, trials, *arguments), PROGRAM)


LINES = {
    "a=1 lr=0.5": ["a=1", "lr=0.5"],
    "  a=1\t lr=1e-3 ": ["a=1", "lr=1e-3"],
    "db=postgres +new=1 ~b.d": ["db=postgres", "+new=1", "~b.d"],
    "+db@src=mysql server@srv=apache": ["+db@src=mysql", "server@srv=apache"],
    "lst=[1,2] b={c:1}": ["lst=[1,2]", "b={c:1}"],
    '"lst=[1, 2]" n=null': ["lst=[1, 2]", "n=null"],
    "s='a b'": ["s=a b"],
    "\"s='a,b'\"": ["s='a,b'"],
    'a=5 s=${a} n=\'${b.c}\'': ["a=5", "s=${a}", "n=${b.c}"],
    "s='#x' ++a=2": ["s=#x", "++a=2"],
    "\"s='ключ'\" 'n=\"日本\"'": ["s='ключ'", 'n="日本"'],
    r"s=a\ b": ["s=a b"],
    "s=": ["s="],
}  # fmt: skip


@pytest.mark.parametrize(("line", "overrides"), LINES.items(), ids=LINES)
def test_a_line_is_taken_apart_as_on_a_command_line(line: str, overrides: list[str]) -> None:
    assert split_line(line) == overrides


@pytest.mark.parametrize("line", [line for line in LINES if "#" not in line])
def test_a_trial_composes_what_its_line_does_on_a_command_line(app: HydraApp, line: str) -> None:
    config = config_of(app, [line, "a=77"])
    for name, travelled in trips(config).items():
        overrides, other = grid_runs(travelled)
        assert app.task_config(overrides) == by_hand(app, split_line(line)), name
        assert other == ["a=77"]
        validate(app.loader, app.master(), read_template(travelled), travelled)


def by_hand(app: HydraApp, overrides: Sequence[str]) -> dict[str, Any]:
    """What `python train.py OVERRIDES` composes."""
    from hydra.types import RunMode

    config = app.loader.load_configuration("config", list(overrides), RunMode.RUN)
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items() if k != "hydra"}


def test_a_file_has_a_line_per_trial_with_blank_ones_and_comments_between(app: HydraApp) -> None:
    lines = read_file(app, "\ufeff# ablations\n\na=1 lr=0.5\r\n   \n  # more\n  \"s='a\u2028b'\"\ndb=postgres")
    assert [line.overrides for line in lines] == [("a=1", "lr=0.5"), ("s='a\u2028b'",), ("db=postgres",)]
    assert [line.place for line in lines] == [f"line {n} of trials.txt" for n in (3, 6, 7)]


def test_a_file_is_looked_for_where_the_user_stands_and_at_home(
    app: HydraApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trials.txt").write_text("a=1\n")
    monkeypatch.chdir(tmp_path)
    assert read(app, "trials.txt")[0].overrides == ("a=1",)
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(app, "~/trials.txt")[0].overrides == ("a=1",)


def test_a_list_has_lines_and_lists_of_overrides(app: HydraApp) -> None:
    lines = read(app, ["a=1 s='x y'", ["a=2", "s=x y"], ["a=3"]])
    assert [line.overrides for line in lines] == [("a=1", "s=x y"), ("a=2", "s=x y"), ("a=3",)]


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (["a=1", "lr=1,2"], "'lr=1,2': entry 2 of the list sweeps"),
        (["a=range(3)"], "sweeps"),
        (["db=glob(*)"], "sweeps"),
        (["lr=interval(0,1)"], "on the command line"),
        (["s='a,b'"], "quotes within quotes"),
        (["hydra.sweep.dir=x"], "Hydra's own configuration"),
        (["a=1 hydra/launcher=basic"], "'hydra/launcher=basic': entry 1 .* command line"),
        (["+hydra.job.env_set.X=1"], "Hydra's own configuration"),
        (["a=1 'lr=2"], "isn't quoted as on a command line"),
        (["a=1 b"], "'b': entry 1 of the list isn't a Hydra override"),
        (["a=1 # why"], "isn't a Hydra override"),
        (["--multirun a=1"], "isn't a Hydra override"),
        (["a=[1, 2]"], "isn't a Hydra override"),
        (["a=1", "a=2", "a=1"], "entry 3 of the list says the same as entry 1 of the list"),
        (["lr=1e-3 a=1", ["a=1", "lr=0.001"]], "entry 2 .* the same as entry 1"),
        (["s=x a=1", "\"s='x'\" a=1"], "entry 2 .* the same as entry 1"),
        ([""], "overrides nothing"),
        ([[]], "overrides nothing"),
        ([3], "entry 1 of the list must be a line"),
        ([["a=1", 2]], "must be a line"),
        ([{"a": 1}], "must be a line"),
        ([], "has no trial"),
        ("a=1 b=2", "no such file .* are a list"),
    ],
)
def test_what_is_no_trial_is_refused_with_its_place_and_the_rule(app: HydraApp, trials: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        read(app, trials)
    assert "hydra.sweeper.trials=" in str(caught.value)


def test_a_file_s_trials_are_refused_with_their_line(app: HydraApp) -> None:
    with pytest.raises(SettingError, match=r"'a=1,2': line 3 of trials\.txt"):
        read_file(app, "# first\n\na=1,2\n")
    with pytest.raises(SettingError, match=r"line 4 of trials\.txt says the same as line 1 of trials"):
        read_file(app, "a=1\n\na=2\na=1\n")
    with pytest.raises(SettingError, match="has no trial"):
        read_file(app, "# nothing yet\n")


def test_what_is_no_text_file_is_refused(app: HydraApp, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary"):
        with pytest.raises(SettingError, match="can't be read as a text file"):
            read(app, str(path))


def test_trials_that_differ_in_a_type_only_are_two(app: HydraApp) -> None:
    assert len(read(app, ["n=1", "n=1.0", "\"n='1'\"", "n=true", "n=null", "n=[1]", "n=[1.0]", "++n=1", "~n"])) == 9


@pytest.mark.parametrize("setting", [3, True, {"a": 1}, " "])
def test_a_setting_that_is_neither_a_list_nor_a_file_is_refused(setting: Any) -> None:
    with pytest.raises(SettingError, match=r"hydra\.sweeper\.trials.*a file that has a line per trial"):
        make_settings(trials=setting)


# --- as a W&B parameter ---


def test_a_list_of_trials_is_one_parameter_that_reads_as_it_was_typed(app: HydraApp) -> None:
    config = config_of(app, ["db=postgres lr=0.5", ["s=a b", "n='x y'"], "\"s='a,b'\" 'n=\"q\"'"])
    validate_by_schema(config)
    assert config["method"] == "grid"
    assert config["parameters"] == {
        "trial_overrides": {
            "values": ["db=postgres lr=0.5", "\"s=a b\" \"n='x y'\"", "\"s='a,b'\" 'n=\"q\"'"],
        }
    }  # fmt: skip


@given(st.lists(st.text(max_size=12), max_size=4))
def test_a_line_brings_back_the_overrides_it_was_made_of(overrides: list[str]) -> None:
    assert split_line(join_line(overrides)) == overrides


KEYS = ["a", "lr", "n", "s", "+new", "++u", "++b.c"]
TRIALS = st.lists(
    st.dictionaries(st.sampled_from(KEYS), ELEMENTS, min_size=1, max_size=4).map(
        lambda values: [f"{key}={value}" for key, value in values.items()]
    ),
    min_size=1,
    max_size=3,
)


@given(TRIALS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_any_list_of_trials_runs_its_lines_and_nothing_else(app: HydraApp, trials: list[list[str]]) -> None:
    try:
        expected = [by_hand(app, overrides) for overrides in trials]
        config = config_of(app, trials)
    except HydraException:  # Hydra's own, for texts that it doesn't take, or two lines that say the same
        assume(False)
    validate_by_schema(config)
    for name, travelled in trips(config).items():
        assert grid_runs(travelled) == trials, name
    assert [repr(app.task_config(run)) for run in trials] == [repr(config) for config in expected]


def test_beside_a_list_others_are_swept_and_vary_faster_in_hydra_s_order(app: HydraApp) -> None:
    config = config_of(app, ["a=1 lr=0.2", "a=2"], "b.c=0", "n=3,4", "~b.d", "s=p,q")
    assert grid_runs(config) == [
        [*line, "b.c=0", f"n={n}", "~b.d=null", f"s={s}"]
        for line in (["a=1", "lr=0.2"], ["a=2"])
        for n in (3, 4)
        for s in ("p", "q")
    ]
    assert space_of(app, ["a=1", "a=2"], "n=3,4,5").grid_size == 6


def test_a_list_beside_an_interval_is_searched_at_random(app: HydraApp) -> None:
    config = config_of(app, ["a=1", "a=2"], "lr=interval(0,1)", run_cap=5)
    assert config["method"] == "random"
    validate_by_schema(config)
    assert read_template(config).overrides({"trial_overrides": "a=2", "lr": 0.5}) == ["a=2", "lr=0.5"]


def test_a_bayesian_search_of_a_list_is_refused(app: HydraApp) -> None:
    with pytest.raises(SettingError, match=r"method='bayes': can't learn from hydra.sweeper.trials"):
        config_of(app, ["a=1", "a=2"], method="bayes", run_cap=3)


@pytest.mark.parametrize(
    ("line", "arguments", "params", "key"),
    [
        ("a=1 lr=1", ["lr=1,2"], {}, "lr"),
        ("a=1", ["a=5"], {}, "a"),
        ("a=1", [], {"a": "1,2"}, "a"),
        ("a=1", ["++a=2"], {}, "a"),
        ("+db@src=mysql", ["+db@src=postgres"], {}, "db@src"),
        ("~b.d", ["b.d=x"], {}, "b.d"),
    ],
)
def test_a_key_in_the_list_and_beside_it_is_refused(
    app: HydraApp, line: str, arguments: list[str], params: dict[str, Any], key: str
) -> None:
    with pytest.raises(SettingError, match=f"entry 2 of the list sets '{key}', which is also set beside"):
        space_of(app, ["n=1", line], *arguments, params=params)


def test_the_parameter_s_name_gives_way_to_a_key_of_the_user_s(app: HydraApp) -> None:
    space = space_of(app, ["a=1"], "+trial_overrides=1,2", "trial_overrides_2=3")
    assert [p.slot.name for p in space.parameters] == ["trial_overrides_3", "trial_overrides", "trial_overrides_2"]


# --- checked by composing, before anything exists ---


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a=1", "arr=2"], "'arr=2' .*Could not override 'arr'"),
        (["arr=2", "a=1"], "'arr=2' .*Could not override 'arr'"),
        (["db=mysql", "db=postgres", "db=oracle"], "'db=oracle' .*oracle"),
        (["+new=1", "+new=2", "new=3"], "'new=3' .*Could not override 'new'"),
        (["+model/nested=wide", "+model/nested=wide model.width=3", "model.width=3"], "'model.width=3'"),
        (["~b.d", "~b.d b.d=3", "~b.zz"], "doesn't compose"),
        (["b={c:1}", "b=3 b.c=1"], "'b=3 b.c=1'"),
    ],
)
def test_a_line_that_does_not_compose_is_shown_with_hydra_s_words(
    app: HydraApp, lines: list[str], words: str
) -> None:
    config = config_of(app, lines)
    with pytest.raises(SweepError, match=words):
        validate(app.loader, app.master(), read_template(config), config)


def test_lines_of_one_kind_are_composed_once(app: HydraApp) -> None:
    class Counting:
        composed = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(app.loader, name)

        def load_sweep_config(self, *args: Any) -> Any:
            self.composed += 1
            return app.loader.load_sweep_config(*args)

    loader: Any = Counting()
    lines = [f"a={n} +new={n} db={db}" for n in range(50) for db in ("mysql", "postgres")]
    config = config_of(app, lines)
    validate(loader, app.master(), read_template(config), config)
    assert loader.composed == 2  # the first trial is of one of both kinds


# --- what people read ---


def test_the_values_of_a_line_are_shown_by_key(app: HydraApp) -> None:
    template = space_of(app, ["a=1 lr=0.5"], "n=1,2").template
    assert template.values({"trial_overrides": "a=1 +db@src=x \"s='a b'\" ~b.d", "n": 2}) == {
        "a": "1", "db@src": "x", "s": "'a b'", "~b.d": "", "n": 2,
    }  # fmt: skip
    assert line_values("") == {}


def test_a_line_that_was_spoilt_on_the_server_fails_its_trial_only(app: HydraApp) -> None:
    template = space_of(app, ["a=1"]).template
    assert template.values({"trial_overrides": "s='a"}) == {"trial_overrides": "s='a"}
    with pytest.raises(SweepError, match="'trial_overrides' = \"s='a\" is no line of overrides"):
        template.overrides({"trial_overrides": "s='a"})


# --- joining ---


def test_the_command_with_the_list_may_be_repeated(app: HydraApp) -> None:
    trials = ["a=1 s='x y'", ["a=2", "db=postgres"]]
    made = like_javascript(config_of(app, trials, "lr=1,2", "~n"))
    space = space_of(app, ["a=2 db=postgres", ["a=1", "s=x y"]], "lr=1,2", "~n", "+extra=1")
    assert fixed_overrides(make_settings(trials=trials), space, made) == ["+extra=1"]


@pytest.mark.parametrize(
    ("trials", "arguments", "words"),
    [
        (["a=1"], (), r"hydra.sweeper.trials=a=1.*this one has a=0,a=1,.*a=19,… \(10 more\)"),
        (None, ("a=3",), "'a': the sweep's own trials set it"),
        (None, ("++a=3",), "'a': the sweep's own trials set it"),
    ],
)
def test_another_list_than_the_sweep_s_is_refused(
    app: HydraApp, trials: Any, arguments: tuple[str, ...], words: str
) -> None:
    made = config_of(app, [f"a={n}" for n in range(30)])
    with pytest.raises(SettingError, match=words):
        fixed_overrides(make_settings(trials=trials), space_of(app, trials, *arguments), made)


def test_a_list_for_a_sweep_that_has_none_is_refused(app: HydraApp) -> None:
    made = make_sweep_config(make_settings(), space_of(app, None, "lr=1,2"), PROGRAM)
    with pytest.raises(SettingError, match="an existing sweep decides what is swept"):
        fixed_overrides(make_settings(trials=["a=1"]), space_of(app, ["a=1"]), made)
