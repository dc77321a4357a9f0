"""W&B's filters and orders, against a real SQLite file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.server.four_runs import NAN, names
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.filters import ALWAYS, sweep_named_in
from wandb_sweep_server.listing import RunLists


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (None, "1234"),
        ({}, "1234"),
        ({"name": "r1"}, "1"),
        ({"state": "finished"}, "1"),
        ({"state": {"$in": ["failed", "running"]}}, "234"),
        ({"state": {"$nin": ["failed", "running"]}}, "1"),
        ({"sweep": "sweep1"}, "12"),
        ({"sweep": None}, "34"),
        ({"$and": [{"sweep": "sweep1"}]}, "12"),
        ({"host": "node1"}, "1"),
        ({"host": {"$ne": "node1"}}, "234"),
        ({"host": {"$nin": ["node1"]}}, "234"),
        ({"$not": {"host": {"$gt": "node1"}}}, "134"),
        ({"group": "g"}, "2"),
        ({"display_name": "nice"}, "3"),
        ({"displayName": "r1"}, "1"),
        ({"config.lr": 0.1}, "1"),
        ({"config.lr.value": 0.1}, "1"),
        ({"config.lr": 1}, "2"),
        ({"config.lr": 1.0}, "2"),
        ({"config.lr": "1"}, "3"),
        ({"config.lr": {"$eq": "1"}}, "3"),
        ({"config.flag": True}, "1"),
        ({"config.flag": False}, "2"),
        ({"config.flag": {"$in": [True, None]}}, "134"),
        # True and false are neither 1 and 0 nor absent.
        ({"config.flag": 1}, ""),
        ({"config.flag": {"$in": [0, 1]}}, ""),
        ({"config.flag": {"$nin": [True]}}, "234"),
        ({"config.flag": {"$ne": False}}, "134"),
        ({"config.flag": {"$gte": 0}}, ""),
        ({"config.flag": {"$exists": True}}, "12"),
        ({"config.lr": True}, ""),
        ({"config.lr": {"$in": [True, 0.1]}}, "1"),
        ({"notes": "hm"}, "3"),
        ({"config.net.depth": 5}, "2"),
        ({"config.net.depth": {"$gte": 2, "$lt": 5}}, "1"),
        ({"config.a.b": "flat"}, "1"),
        ({"config.a.b": "deep"}, "2"),
        ({"config.l": [1, 2]}, "1"),
        ({"config.l": {"$in": [[1, 2], 3]}}, "1"),
        ({"config.net": {"depth": 2}}, "1"),
        ({"config.n": None}, "1234"),
        ({"config.opt": {"$regex": "^ad"}}, "1"),
        ({"config.opt": {"$regex": "(?i)AD"}}, "13"),
        ({"config.opt": {"$not": {"$regex": "^ad"}}}, "234"),
        ({"config.lr": {"$regex": "1"}}, "3"),
        ({"summary_metrics.loss": {"$gt": 2}}, "13"),
        ({"summary_metrics.loss": {"$lte": 3}}, "12"),
        ({"summary_metrics.loss": {"$gt": 2, "$lt": 1e300}}, "1"),
        ({"summary_metrics.loss": 1.5}, "2"),
        ({"summary_metrics.val.loss": 7}, "1"),
        ({"summary_metrics.acc": {"$gt": 0}}, "1"),
        ({"summary_metrics.acc": {"$lt": 1}}, "13"),
        ({"summary_metrics.acc": NAN}, "2"),
        ({"summaryMetrics.loss": {"$exists": True}}, "123"),
        ({"summary.loss": {"$exists": False}}, "4"),
        # A text is neither above nor below a number.
        ({"config.lr": {"$gt": 0}}, "12"),
        ({"config.lr": {"$gt": "0"}}, "3"),
        ({"tags": "x"}, "12"),
        ({"tags": {"$in": ["base", "y"]}}, "14"),
        ({"tags": {"$in": []}}, ""),
        ({"tags": {"$nin": ["x"]}}, "34"),
        ({"tags": {"$in": ["x"], "$nin": ["base"]}}, "2"),
        ({"tags": "it's"}, "2"),
        ({"$or": [{"name": "r1"}, {"config.lr": "1"}]}, "13"),
        ({"$or": []}, ""),
        ({"$and": []}, "1234"),
        ({"$nor": [{"name": "r1"}, {"sweep": "sweep1"}]}, "34"),
        ({"$nor": []}, "1234"),
        ({"$not": {"config.lr": {"$gt": 0.5}}}, "134"),
        ({"state": "running", "name": "r3"}, "3"),
        ({"$and": [{"$or": [{"name": "r1"}, {"name": "r2"}]}, {"$not": {"name": "r1"}}]}, "2"),
        ({"name": {"$in": []}}, ""),
        ({"name": {"$nin": []}}, "1234"),
        ({"name": {"$in": ["r1", 3, None, True, 1.5, [1], {"a": 1}]}}, "1"),
        ({"config.lr": {"$in": [10**400, 1]}}, "2"),
        ({"created_at": {"$gt": "2023-11-14T22:14:30"}}, "34"),
        ({"createdAt": {"$lt": "2023-11-14T22:14:30Z"}}, "12"),
        ({"created_at": {"$gte": "2023-11-15T00:15:20+02:00", "$exists": True}}, "34"),
        ({"created_at": {"$lt": "2020-01-01"}}, ""),
        ({"created_at": {"$gt": 1_700_000_061}}, "34"),
        ({"config.lr": {"$lt": 10**40}}, "12"),
        ({"config.lr": -(10**400)}, ""),
    ],
    ids=str,
)
def test_filters_find_what_they_say(lists: RunLists, filters: Any, found: str) -> None:
    assert names(lists, filters) == [f"r{number}" for number in found]


def test_lists_of_thousands_are_within_the_limits_of_sqlite(lists: RunLists) -> None:
    many = [f"q{number}" for number in range(5000)]
    assert names(lists, {"name": {"$in": [*many, "r2"]}}) == ["r2"]
    assert names(lists, {"$or": [{"name": name} for name in [*many, "r2"]]}) == ["r2"]
    assert names(lists, {"tags": {"$in": [*many, "y"]}}) == ["r4"]


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({}, None),
        ({"sweep": "s1"}, "s1"),
        ({"sweep": "s1", "state": "running"}, "s1"),
        ({"$and": [{"state": "running"}, {"$and": [{"sweep": "s1"}]}]}, "s1"),
        # Runs may belong to another sweep, or to none.
        ({"sweep": None}, None),
        ({"sweep": {"$ne": "s1"}}, None),
        ({"$or": [{"sweep": "s1"}, {"name": "r3"}]}, None),
        ({"$nor": [{"sweep": "s1"}]}, None),
        ({"$not": {"sweep": "s1"}}, None),
        ({"$and": {"sweep": "s1"}}, None),
        ([{"sweep": "s1"}], None),
    ],
    ids=str,
)
def test_a_filter_tells_the_one_sweep_that_it_is_about(filters: Any, name: str | None) -> None:
    assert sweep_named_in(json.dumps(filters)) == name


@pytest.mark.parametrize("operator", ["$not", "$nor", "$and", "$or"])
def test_nesting_has_a_limit_that_sqlite_can_bear(lists: RunLists, operator: str) -> None:
    def nested(levels: int) -> Any:
        filters: Any = {"config.lr": {"$gt": 0.5, "$in": [1, None]}, "tags": {"$nin": ["x"]}}
        for _ in range(levels):
            filters = {operator: filters} if operator == "$not" else {operator: [{"name": "r1"}] * 60 + [filters]}
        return filters

    assert names(lists, nested(7)) is not None
    with pytest.raises(ClientError, match="nested deeper than 7"):
        names(lists, nested(8))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, "4321"),
        ("+created_at", "1234"),
        ("created_at", "1234"),
        ("-created_at", "4321"),
        ("-name", "4321"),
        ("+state", "2134"),  # failed, finished, running; of equals by age
        # Without the value, and with NaN, come last in both directions.
        ("+summary_metrics.loss", "2134"),
        ("-summary_metrics.loss", "3124"),
        ("+summary_metrics.acc", "3124"),
        ("-summary_metrics.acc", "1342"),
        ("-summary_metrics.val.loss", "1432"),
        ("+config.net.depth", "1234"),
        ("-config.net.depth", "2143"),
    ],
)
def test_orders_put_missing_values_last(lists: RunLists, order: str | None, expected: str) -> None:
    page = lists.page(ALWAYS, None, order, None, None)
    assert "".join(run.name[1] for run in page.items) == expected


REFUSED = [
    ("{", "filters is not valid JSON"),
    ("[" * 100_000, "filters is not valid JSON"),
    ("[1]", r"filters: \[1\] must be a JSON object"),
    ('"name"', "filters: 'name' must be a JSON object"),
    ('{"foo": 1}', "key 'foo' is not available .* config.<key>, summary_metrics.<key>, tags, .*state"),
    ('{"config": 1}', "key 'config' is not available"),
    ('{"config.": 1}', "key 'config.' is not available"),
    ('{"summary_metrics": {"a": 1}}', "key 'summary_metrics' is not available"),
    ('{"runs.name": 1}', "key 'runs.name' is not available"),
    ('{"id": 1}', "key 'id' is not available"),
    ('{"$where": "1"}', r"operator \$where is not available"),
    ('{"name": {"$where": "1"}}', r"operator \$where is not available"),
    ('{"name": {"$gt": "a", "b": 1}}', "operator b is not available"),
    ('{"name": {"$not": 3}}', r"operator \$not is not available"),
    ('{"name": {"$in": "r1"}}', r"\$in = 'r1' must be a list"),
    ('{"$or": {"name": 1}}', r"\$or = \{'name': 1\} must be a list"),
    ('{"$and": [3]}', "3 must be a JSON object"),
    ('{"$not": [1]}', r"\[1\] must be a JSON object"),
    ('{"name": {"$regex": "("}}', r"\$regex = '\('"),
    ('{"name": {"$regex": "a{99999999999}"}}', r"\$regex = 'a\{9+\}'"),
    ('{"name": {"$gt": null}}', r"\$gt = None must be a number or a text"),
    ('{"name": {"$lt": [1]}}', r"\$lt = \[1\] must be a number or a text"),
    ('{"tags": {"$gt": 1}}', r"tags = \{'\$gt': 1\} must be a tag"),
    ('{"tags": {"$in": "x"}}', r"tags = \{'\$in': 'x'\} must be a tag"),
    ('{"created_at": {"$gt": "yesterday"}}', "created_at = 'yesterday' must be a time such as"),
    ('{"config.a\\"b": 1}', "key 'a\"b' cannot be looked up"),
    ('{"config.a\\u0000b": 1}', r"key 'a\\x00b' cannot be looked up"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_a_filter_that_is_not_understood_is_refused_by_key_or_operator(
    lists: RunLists, text: str, message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        lists.page(ALWAYS, text, None, None, None)


@pytest.mark.parametrize("order", ["+foo", "-config", "name; DROP TABLE runs", "+config.a\x00", "-"])
def test_an_order_that_is_not_understood_is_refused(lists: RunLists, order: str) -> None:
    with pytest.raises(ClientError, match=r"is not available in this server|cannot be looked up"):
        lists.page(ALWAYS, None, order, None, None)


def test_more_conditions_than_sqlite_has_parameters_are_refused(lists: RunLists) -> None:
    with pytest.raises(ClientError, match=r"too many conditions; .* use \$in"):
        names(lists, {"$or": [{"config.lr": number} for number in range(20_000)]})
