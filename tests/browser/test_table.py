"""The table of runs: sorted, filtered, a page at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.browser.conftest import Page
from tests.browser.sweeps import sweep_data

NOW_S = 1_800_000_000.0
EVERYTHING: dict[str, Any] = {"states": [], "text": "", "sort": "name", "within": None}
# One browser for all examples of a law.
laws = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(page: Page, data: dict[str, Any], **filter_: Any) -> list[int]:
    """The rows that the table shows."""
    found: list[int] = page.call("facts.js", "rowsToShow", data, EVERYTHING | filter_, NOW_S)
    return found


@pytest.mark.parametrize("column", ["metric:loss", "parameter:lr", "duration", "began"])
def test_rows_are_sorted_by_numbers_with_missing_ones_last(page: Page, column: str) -> None:
    data = sweep_data(30, states=("failed", "failed"))
    runs = data["runs"]
    runs["began_at"][0] = runs["duration_s"][3] = runs["parameters"]["lr"][4] = None
    kind, _, name = column.partition(":")
    values = {"duration": runs["duration_s"], "began": runs["began_at"]}.get(kind) or runs[f"{kind}s"][name]
    missing = [index for index in range(30) if values[index] is None]
    there = [index for index in range(30) if values[index] is not None]
    up, down = rows(page, data, sort=column), rows(page, data, sort=f"-{column}")
    assert up == sorted(there, key=lambda index: values[index]) + missing
    assert down == sorted(there, key=lambda index: -values[index]) + missing


@laws
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["finished", "failed", "running"]),
            st.none() | st.floats(-1e6, 1e6) | st.text(max_size=5),
        ),
        max_size=30,
    ),
    st.sets(st.sampled_from(["finished", "failed", "running"])),
    st.booleans(),
)
def test_a_table_shows_each_run_of_the_states_once(
    page: Page, drawn: list[tuple[str, Any]], states: set[str], is_down: bool
) -> None:
    data = sweep_data(len(drawn))
    data["runs"]["state"] = [state for state, _ in drawn]
    data["runs"]["parameters"]["lr"] = [value for _, value in drawn]
    shown = rows(page, data, states=sorted(states), sort="-parameter:lr" if is_down else "parameter:lr")
    assert sorted(shown) == [i for i, (state, _) in enumerate(drawn) if not states or state in states]
    numbers = [drawn[i][1] for i in shown if isinstance(drawn[i][1], float)]
    assert numbers == sorted(numbers, reverse=is_down)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trial-3", [3]),
        ("TRIAL-3", [3]),
        ("model=cnn", [0, 2]),
        ("model=cnn node1", [2]),
        ("too large", [3]),
        ("nothing like it", []),
    ],
)
def test_text_is_looked_for_in_names_hosts_parameters_and_reasons(page: Page, text: str, expected: list[int]) -> None:
    data = sweep_data(4, states=("failed",))
    data["runs"]["parameters"]["model"] = ["cnn", "mlp", "cnn", "mlp"]
    data["runs"]["host"] = ["node0", "node1", "node1", "node0"]
    assert rows(page, data, text=text) == expected


def test_the_page_s_table_filters_and_sorts(page: Page) -> None:
    data = sweep_data(30, states=("failed", "running"))
    page.server.show(data)
    page.open()
    losses = data["runs"]["metrics"]["loss"]
    finished = sorted(range(28), key=lambda index: losses[index])
    # The best come first until the reader wants another order.
    assert page.texts(".runs tbody th")[:3] == [
        f"trial-{i}" for i in sorted([*range(28), 29], key=lambda index: losses[index])[:3]
    ]
    page.click(".chip[data-state=finished]")
    assert page.texts(".runs tbody th") == [f"trial-{index}" for index in finished]
    assert page.text(".filters [role=status]") == "28 of 30 runs"
    head = "th[data-key='parameter:lr']"
    page.click(f"{head} button")
    assert page.attribute(head, "aria-sort") == "ascending"
    rates = data["runs"]["parameters"]["lr"]
    assert page.texts(".runs tbody th") == [f"trial-{i}" for i in sorted(range(28), key=lambda index: rates[index])]
    page.click(f"{head} button")
    assert page.attribute(head, "aria-sort") == "descending"
    cells = [float(text.replace("e", "E")) for text in page.texts(".runs tbody td.number:nth-child(4)")]
    assert cells == pytest.approx(sorted(rates[:28], reverse=True), rel=1e-3)
    page.find(".runs input").send_keys("nothing like it")
    page.wait("document.querySelector('.runs .empty').innerText === 'No run matches the filter.'")


def test_a_failed_run_says_why(page: Page) -> None:
    page.server.show(sweep_data(4, states=("failed",)))
    page.open()
    assert "ValueError: too large" in page.texts(".runs tbody .reason")


def test_thousands_of_runs_are_shown_page_by_page(page: Page) -> None:
    page.server.show(sweep_data(120), loss={"key": "loss", "runs": []})
    page.open(fragment="#sort=name")
    assert page.text(".pages span") == "1\u201350 of 120"
    assert page.texts(".runs tbody th")[:2] == ["trial-0", "trial-1"]
    page.click(".pages button:last-child")
    assert page.text(".pages span") == "51\u2013100 of 120"
    page.click(".pages button:last-child")
    assert page.texts(".runs tbody th") == [f"trial-{index}" for index in range(100, 120)]
    assert page.attribute(".pages button:last-child", "disabled")
    page.open(fragment="#sort=name&page=99")
    assert page.text(".pages span") == "101\u2013120 of 120"


def test_rows_link_to_a_run_s_config_and_log(page: Page) -> None:
    page.open(fragment="#sort=name")
    links = page.run("""
        const links = document.querySelectorAll(".runs tbody tr:first-child a");
        return Array.from(links, (link) => link.getAttribute("href"));
    """)
    assert links == ["/local/app/runs/run00000", "/local/app/runs/run00000#log"]
