"""The rate of requests, with a clock that only sleeping moves."""

from __future__ import annotations

import threading

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._throttle import Throttle, throttled_session
from tests.unit.sweeper.test_client import Answer, FakeTime, ScriptedServer


@given(
    per_s=st.floats(0.1, 200),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_in_no_stretch_of_time_are_there_more_requests_than_the_rate_and_a_second_s_worth(
    per_s: float, pauses: list[float]
) -> None:
    time = FakeTime()
    throttle = Throttle(per_s, time.sleep, lambda: time.now)
    sent: list[float] = []
    for pause in pauses:
        time.now += pause
        throttle.wait()
        sent.append(time.now)
    for i, begin in enumerate(sent):
        for j in range(i, len(sent)):
            assert j - i + 1 <= (sent[j] - begin) * per_s + max(1.0, per_s) + 1e-6


def test_without_a_break_requests_come_at_the_rate() -> None:
    time = FakeTime()
    throttle = Throttle(10, time.sleep, lambda: time.now)
    for _ in range(101):
        throttle.wait()
    assert time.now == pytest.approx(10.0)


def test_after_a_break_a_second_s_worth_may_follow_each_other() -> None:
    time = FakeTime()
    throttle = Throttle(10, time.sleep, lambda: time.now)
    time.now = 60.0
    for _ in range(10):
        throttle.wait()
    assert time.now == 60.0
    throttle.wait()
    assert time.now == pytest.approx(60.1)


def test_what_one_request_is_told_holds_for_all() -> None:
    server, time = ScriptedServer(), FakeTime()
    server.answers = [Answer(429, "slow down", {"Retry-After": "30"}), Answer(200, {})]
    throttle = Throttle(100, time.sleep, lambda: time.now)
    assert throttled_session(throttle).get(server.url, timeout=10).status_code == 429
    assert time.now == 0.0
    answers: list[requests.Response] = []
    other = threading.Thread(target=lambda: answers.append(throttled_session(throttle).get(server.url, timeout=10)))
    other.start()
    other.join()
    server.close()
    assert answers[0].status_code == 200
    assert time.now == pytest.approx(30.0)


def test_a_long_wait_that_is_given_up_ends_soon() -> None:
    time = FakeTime()
    throttle = Throttle(1, time.sleep, lambda: time.now)
    throttle.hold(600)
    with pytest.raises(requests.ConnectionError, match="given up"):
        throttle.wait(lambda: time.now > 2)
    assert time.now < 3
