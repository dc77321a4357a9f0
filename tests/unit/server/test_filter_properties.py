"""Filters obey the laws of sets, and nothing in them is ever SQL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.server.four_runs import RUNS, names
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.listing import RunLists

ALL = set(RUNS)
HOSTILE = [
    "'",
    '"',
    "');DROP TABLE runs;--",
    "$",
    "%",
    "_",
    "?",
    ":x",
    "\\",
    "[0]",
    "\x00",
    "a.b",
    ";",
    "--",
    "/*",
    "",
]
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), min_size=1, max_size=3).map("".join)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0.1, 1, 3, 1.5, "adam", "1", "r1", "node1", "finished"]),
    st.floats(),
    TEXTS,
    st.lists(TEXTS, max_size=2),
)
KEYS = st.sampled_from(
    ["name", "state", "host", "config.lr", "config.opt", "config.net.depth", "summary_metrics.loss", "sweep"]
)
COMPARABLE = st.integers(-3, 3) | st.floats() | TEXTS
OPERATIONS = st.one_of(
    VALUES,
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$eq", "$ne"]), VALUES),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), COMPARABLE),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=3)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
)
FILTERS: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(KEYS, OPERATIONS, max_size=2),
    lambda inner: st.one_of(
        st.builds(lambda o, v: {o: v}, st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, max_size=3)),
        st.builds(lambda v: {"$not": v}, inner),
    ),
    max_leaves=5,
)
quick = settings(deadline=None, max_examples=150)


@quick
@given(FILTERS)
def test_not_is_the_complement(lists: RunLists, filters: Any) -> None:
    found, others = names(lists, filters), names(lists, {"$not": filters})
    assert sorted([*found, *others]) == sorted(ALL)
    assert names(lists, {"$nor": [filters]}) == others
    assert names(lists, {"$not": {"$not": filters}}) == found


@quick
@given(FILTERS, FILTERS)
def test_and_and_or_are_those_of_sets(lists: RunLists, one: Any, other: Any) -> None:
    first, second = set(names(lists, one)), set(names(lists, other))
    assert set(names(lists, {"$and": [one, other]})) == first & second
    assert set(names(lists, {"$or": [one, other]})) == first | second


@quick
@given(TEXTS, TEXTS, st.sampled_from(["$eq", "$ne", "$in", "$gt", "$regex", "$not", "$exists"]))
def test_what_clients_write_is_never_sql(lists: RunLists, key: str, value: str, operator: str) -> None:
    argument: Any = [value] if operator == "$in" else {"$eq": value} if operator == "$not" else value
    for text in (key, f"config.{key}", f"summary_metrics.{key}.{key}"):
        with suppress(ClientError):  # refused with words is inert as well
            assert set(names(lists, {text: {operator: argument}}, order=f"+{text}")) <= ALL
    assert set(names(lists)) == ALL
