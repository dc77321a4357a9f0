"""Which parameters matter: by ranks, by a model, and as seldom as is enough."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.server.asgi import App
from tests.unit.server.pages import data_path, finish_trial
from tests.unit.server.support import Server
from wandb_sweep_server.importance import Importance
from wandb_sweep_server.pages.importances import NOTHING, Found, Importances, Table, by_model, by_ranks, table_of


def made_up(count: int, seed: int = 0) -> Table:
    """Runs whose metric depends on `strong` much, on `kind` some, on `weak` not at all."""
    rng = random.Random(seed)
    strong, weak = ([rng.random() for _ in range(count)] for _ in range(2))
    kind = [rng.choice(["a", "b"]) for _ in range(count)]
    metric = [3 * x + (k == "a") for x, k in zip(strong, kind, strict=True)]
    return Table({"weak": weak, "kind": kind, "strong": strong}, frozenset(), metric, False)


@pytest.mark.parametrize(("count", "by"), [(60, "fANOVA"), (400, "PED-ANOVA")])
def test_a_model_finds_what_matters(count: int, by: str) -> None:
    found = by_model(made_up(count))
    assert found.by == by
    shares = {one.name: one.importance for one in found.importance}
    assert found.importance[0].name == "strong"
    assert shares["strong"] > 3 * shares["weak"]
    assert sum(shares.values()) == pytest.approx(1.0)
    correlations = {one.name: one.correlation for one in found.importance}
    assert correlations["strong"] > 0.8  # type: ignore[operator]
    assert correlations["kind"] is None


def test_the_same_runs_have_the_same_importance() -> None:
    assert by_model(made_up(40)) == by_model(made_up(40))


def test_a_logarithmic_parameter_is_modelled_as_such() -> None:
    table = made_up(40)
    wide = [10 ** (6 * x) for x in table.parameters["strong"]]  # type: ignore[operator]
    found = by_model(replace(table, parameters={**table.parameters, "strong": wide}, logs=frozenset({"strong"})))
    assert found.importance[0].name == "strong"


@pytest.mark.parametrize(
    "table",
    [
        Table({}, frozenset(), [], False),
        Table({"a": []}, frozenset(), [], False),
        Table({"a": [1.0] * 20}, frozenset(), [float(i) for i in range(20)], False),
        Table({"a": [float(i) for i in range(20)]}, frozenset(), [1.0] * 20, False),
        Table({"a": [None] * 20}, frozenset(), [float(i) for i in range(20)], False),
        Table({"a": [1.0, None] * 10, "b": [None, 1.0] * 10}, frozenset(), [float(i) for i in range(20)], False),
        made_up(5),
    ],
)
def test_where_no_model_can_be_made_ranks_tell(table: Table) -> None:
    assert by_model(table) == by_ranks(table)


def test_of_few_trials_and_of_one_parameter_nothing_is_told() -> None:
    few, one = (
        made_up(9),
        replace(made_up(40), parameters={"strong": made_up(40).parameters["strong"], "b": ["x"] * 40}),
    )
    for found in (by_ranks(few), by_model(few)):
        assert (found.importance, found.note) == (
            [],
            "Too few finished trials have the metric to tell what matters: 9 of at least 10.",
        )
    for found in (by_ranks(one), by_model(one)):
        assert (found.importance, found.note) == (
            [],
            "Only 'strong' differs between the trials: there is nothing to compare its importance with.",
        )
    assert by_ranks(made_up(10)).note is None


def test_a_model_of_a_single_parameter_is_not_made() -> None:
    # `b` is only there where `a` is always the same.
    table = Table(
        {"a": [float(i) for i in range(10)] + [3.0] * 10, "b": [None] * 10 + [float(i) for i in range(10)]},
        frozenset(),
        [float(i * i) for i in range(20)],
        False,
    )
    assert by_model(table).by == "rank correlation"


def test_values_of_several_kinds_are_categories() -> None:
    values = [1.0, "auto", 2.0, "none"] * 10
    metric = [float(i % 4 == 1) + i / 1000 for i in range(40)]
    other = [float(i % 7) for i in range(40)]
    found = by_model(Table({"a": values, "b": other}, frozenset(), metric, True)).importance[0]
    assert (found.name, found.importance > 0.9) == ("a", True)


def test_only_runs_that_have_finished_with_the_metric_count() -> None:
    data = {
        "sweep": {"metric": {"name": "acc", "goal": "maximize"}},
        "parameters": [{"name": "lr", "kind": "number", "scale": "log"}],
        "runs": {
            "state": ["finished", "failed", "finished", "running"],
            "parameters": {"lr": [1, 2, 3, 4]},
            "metrics": {"acc": [0.1, 0.2, None, 0.4]},
        },
    }
    assert table_of(data) == Table({"lr": [1]}, frozenset({"lr"}), [0.1], True)
    assert table_of({**data, "sweep": {"metric": None}}) is None


# --- how often ---


class Model:
    """Counts what it is asked, and answers when it may."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.may = threading.Event()
        self.may.set()

    def __call__(self, table: Table) -> Found:
        self.asked.append(len(table.metric))
        assert self.may.wait(60)
        return Found([Importance("strong", len(self.asked) / 10, None)], "a model")


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def importances(model: Model) -> Iterator[Importances]:
    importances = Importances(model)
    yield importances
    importances.close()


def test_a_model_is_made_anew_after_five_percent_more_trials(importances: Importances, model: Model) -> None:
    async def work() -> None:
        for count in (100, 101, 105, 106, 106, 90):
            await importances.find(1, made_up(count))
        await importances.find(2, made_up(106))

    asyncio.run(work())
    assert model.asked == [100, 106, 90, 106]


def test_another_parameter_or_goal_is_another_question(importances: Importances, model: Model) -> None:
    async def work() -> None:
        table = made_up(50)
        for one in (table, replace(table, is_maximized=True), replace(table, parameters={"strong": [1.0] * 50})):
            await importances.find(1, one)

    asyncio.run(work())
    assert model.asked == [50, 50, 50]


def test_those_who_ask_at_once_wait_for_one_answer(importances: Importances, model: Model) -> None:
    async def work() -> list[Found]:
        model.may.clear()
        askers = [asyncio.create_task(importances.find(1, made_up(50))) for _ in range(3)]
        while not model.asked:
            await asyncio.sleep(0)
        askers[0].cancel()  # one page is closed meanwhile
        model.may.set()
        return await asyncio.gather(*askers[1:])

    answers = asyncio.run(work())
    assert model.asked == [50]
    assert {found.by for found in answers} == {"a model"}


def test_what_a_model_said_is_told_at_once_and_ranks_before_that(importances: Importances, model: Model) -> None:
    table = made_up(50)
    assert importances.known(1, table) == by_ranks(table)
    asyncio.run(importances.find(1, table))
    assert importances.known(1, table).by == "a model"
    assert importances.known(1, None) == NOTHING
    assert model.asked == [50]


def test_a_model_that_fails_is_said_in_the_log_and_ranks_tell(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Table) -> Found:
        raise TypeError("no such argument")

    importances, table = Importances(fail), made_up(50)
    assert asyncio.run(importances.find(1, table)) == by_ranks(table)
    assert "the importance of parameters can't be modelled; ranks tell it instead" in caplog.text
    assert "no such argument" in caplog.text
    importances.close()


def test_without_the_packages_ranks_tell() -> None:
    importances, table = Importances.of_this_environment(lambda package: package != "optuna"), made_up(50)
    assert asyncio.run(importances.find(1, table)) == by_ranks(table)
    assert asyncio.run(importances.find(1, None)) == NOTHING
    importances.close()


def test_the_page_is_told(server: Server) -> None:
    sweep = server.sweep({"a": {"values": [1, 2, 3, 4, 5]}, "b": {"values": ["x", "y"]}}, metric={"name": "loss"})
    agent = server.agent(sweep)
    app = App(server)
    for number in range(10):
        data = app.ask("GET", data_path(sweep)).json()
        assert data["importance"] == []
        assert f"what matters: {number} of at least 10" in data["importance_note"]
        finish_trial(server, sweep, agent, loss=float(number // 2))  # a varies slowest
    data = app.ask("GET", data_path(sweep)).json()
    assert [one["name"] for one in data["importance"]] == ["a", "b"]
    assert data["importance"][0]["correlation"] == 1.0
    answer = app.ask("GET", data_path(sweep, "/importance")).json()
    assert [one["name"] for one in answer["importance"]] == ["a", "b"]
    assert (answer["importance_by"], answer["importance_note"]) == ("fANOVA", None)
    app.close()
