"""Who asks too often waits; nobody else does."""

from __future__ import annotations

import pytest

from tests.unit.server.support import FakeTime
from wandb_sweep_server.app import AccessLimits
from wandb_sweep_server.throttle import Rate, Throttle


def throttle(time: FakeTime, rate: Rate) -> Throttle:
    return Throttle(rate, time.clock().monotonic_s)


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    time = FakeTime()
    requests = throttle(time, Rate(burst=3, per_s=0.5))
    assert [requests.wait_s("a") for _ in range(3)] == [0.0] * 3
    assert requests.wait_s("a") == pytest.approx(2.0)
    time.pass_s(2.0)
    assert requests.wait_s("a") == 0.0
    assert requests.wait_s("a") > 0.0


def test_a_request_that_was_refused_costs_nothing() -> None:
    time = FakeTime()
    requests = throttle(time, Rate(burst=1, per_s=1.0))
    assert requests.wait_s("a") == 0.0
    for _ in range(100):
        assert requests.wait_s("a") > 0.0
    time.pass_s(1.0)
    assert requests.wait_s("a") == 0.0


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    time = FakeTime()
    requests = throttle(time, Rate(burst=2, per_s=1.0))
    requests.wait_s("a")
    time.pass_s(1e9)
    assert [requests.wait_s("a") > 0 for _ in range(3)] == [False, False, True]


def test_one_client_does_not_wait_for_another() -> None:
    requests = throttle(FakeTime(), Rate(burst=1, per_s=1.0))
    assert [requests.wait_s("a"), requests.wait_s("a") > 0, requests.wait_s("b")] == [0.0, True, 0.0]


def test_what_is_remembered_of_clients_is_bounded() -> None:
    requests = throttle(FakeTime(), Rate(burst=1, per_s=1.0))
    for number in range(20_000):
        requests.wait_s(str(number))
    assert len(requests._buckets) == 10_000


def test_a_thousand_agents_and_their_trials_on_one_machine_never_wait() -> None:
    time = FakeTime()
    requests = throttle(time, AccessLimits().requests)
    # All come at once; then for an hour each agent asks every 5 s, and its trial streams every 2 s, the most they do.
    for _ in range(5 * 1_000):
        assert requests.wait_s("node") == 0.0
    for _ in range(3_600):
        for _ in range(1_000 // 5 + 1_000 // 2):
            assert requests.wait_s("node") == 0.0
        time.pass_s(1.0)
