"""A limit on the rate of requests, shared by the threads of a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from ._transport import retry_after_s

# As many requests as the rate allows in this time may follow each other at once after a pause.
_BURST_S = 1.0
# How soon a thread that waits notices that it is given up.
_NAP_S = 0.5


def _never() -> bool:
    return False


class Throttle:
    """A token bucket: `per_s` requests per second on average, at most a second's worth at once.

    A server's wish to be left alone for a while holds for all threads.
    """

    def __init__(
        self,
        per_s: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = 1 / per_s
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        # When the next request may be sent if there is no burst; a virtual schedule instead of a count of tokens.
        self._next = clock()

    def wait(self, is_given_up: Callable[[], bool] = _never) -> None:
        """Return when a request may be sent. Errors: requests.ConnectionError once it is given up."""
        while (delay_s := self._take()) > 0:
            if is_given_up():
                raise requests.ConnectionError("given up before it was sent")
            self._sleep(min(delay_s, _NAP_S))

    def _take(self) -> float:
        """Take a token, or return how long to wait before trying again."""
        with self._lock:
            now = self._clock()
            # A wait of less than this would be a rounding error.
            if self._next > now + 1e-9:
                return self._next - now
            unused_s = max(0.0, _BURST_S - self._interval_s)
            self._next = max(self._next, now - unused_s) + self._interval_s
            return 0.0

    def hold(self, seconds: float) -> None:
        """Let no request be sent for so long."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class ThrottledAdapter(HTTPAdapter):
    """For a requests.Session: every request waits for the throttle, and an answer 429 holds all.

    is_given_up: True ends the wait with requests.ConnectionError.
    """

    def __init__(self, throttle: Throttle, is_given_up: Callable[[], bool] = _never) -> None:
        super().__init__()
        self._throttle = throttle
        self._is_given_up = is_given_up

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send one request when its turn has come."""
        self._throttle.wait(self._is_given_up)
        response = super().send(request, *args, **options)
        if response.status_code == 429 and (after_s := retry_after_s(response)):
            self._throttle.hold(after_s)
        return response


def throttled_session(throttle: Throttle, is_given_up: Callable[[], bool] = _never) -> requests.Session:
    """Return a session whose requests wait for the throttle; see ThrottledAdapter."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, ThrottledAdapter(throttle, is_given_up))
    return session
