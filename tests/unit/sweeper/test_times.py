"""Times as servers write them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._times import epoch_s


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1970-01-01T00:01:00", 60.0, id="as W&B writes it"),
        pytest.param("1970-01-01T00:01:00Z", 60.0, id="UTC"),
        pytest.param("1970-01-01T00:01:00.250Z", 60.25, id="milliseconds"),
        pytest.param("1970-01-01T00:01:00.123456789Z", 60.123456789, id="nanoseconds, as Go writes them"),
        pytest.param("1970-01-01T01:01:00+01:00", 60.0, id="a zone"),
        pytest.param("1970-01-01 00:01:00", 60.0, id="a space"),
        pytest.param("1970-02-30T00:00:00Z", None, id="no day"),
        pytest.param("yesterday", None, id="no time"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
    ],
)
def test_a_time_is_read_whatever_its_spelling(text: str | None, expected: float | None) -> None:
    assert epoch_s(text) == expected


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)))
def test_the_embedded_server_s_times_are_read_to_the_millisecond(time: datetime) -> None:
    text = time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    assert epoch_s(text) == pytest.approx(time.replace(tzinfo=timezone.utc).timestamp(), abs=1.1e-3)
