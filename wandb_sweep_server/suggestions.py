"""Trials that a Bayesian search chooses: computed beside the store, handed out by it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import scheduling
from .observations import Observations
from .records import Sweep
from .search.bayes import BayesSearch, Point, Problem, Seen, require_packages
from .sweeps import Sweeps

Args = dict[str, Any]

# At once: they share the most costly part, and agents wait for all of them.
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Order:
    """A problem to be solved for a sweep. config_digest: the sweep's when it was put."""

    sweep_id: int
    config_digest: str
    problem: Problem


@dataclass(frozen=True)
class _Chosen:
    config_digest: str
    args: Args


class Suggestions:
    """Trials that were chosen, by their number in the sweep; used in the store's thread.

    To take one changes nothing here: it is handed out when the sweep goes on to its next number, in the transaction
    of the claim, and if that is undone the same one is taken again. Only in memory: what was handed out is a run in
    the database, and everything else can be chosen again.
    """

    def __init__(self, sweeps: Sweeps, observations: Observations) -> None:
        self._sweeps = sweeps
        self._observations = observations
        self._chosen: dict[int, dict[int, _Chosen]] = {}

    def take(self, sweep: Sweep) -> Args | None:
        """The arguments of the sweep's next trial, None if it has yet to be chosen."""
        return self._find(sweep, sweep.next_trial)

    def _find(self, sweep: Sweep, number: int) -> Args | None:
        chosen = self._chosen.get(sweep.id, {}).get(number)
        # One that was chosen before the user changed the sweep is of no use.
        return chosen.args if chosen is not None and chosen.config_digest == sweep.config_digest else None

    def order(self, sweep_id: int, wanted: int) -> Order | None:
        """What has to be solved for so many trials more, or None if the sweep will have no more."""
        sweep = self._sweeps.by_id(sweep_id)
        config = None if sweep is None else self._sweeps.config(sweep)
        if sweep is None or config is None or not isinstance(config.search, BayesSearch):
            return None
        search = config.search
        waiting: list[Point | None] = []
        while (args := self._find(sweep, sweep.next_trial + len(waiting))) is not None:
            waiting.append(search.point_of(args))
        if config.run_cap is not None:
            wanted = min(wanted, config.run_cap - sweep.run_count - len(waiting))
        if wanted < 1 or sweep.state not in scheduling.OPEN:
            return None
        seen = self._observations.of_sweep(sweep, search)
        seen += tuple(Seen(point, None, is_running=True) for point in waiting if point is not None)
        first = sweep.next_trial + len(waiting)
        return Order(sweep_id, sweep.config_digest, Problem(search, seen, first, min(wanted, _MOST_AT_ONCE)))

    def put(self, order: Order, found: list[Args]) -> None:
        """Have trials handed out to whoever asks next."""
        chosen = self._chosen.setdefault(order.sweep_id, {})
        sweep = self._sweeps.by_id(order.sweep_id)
        for number in [] if sweep is None else [n for n in chosen if n < sweep.next_trial - _MOST_AT_ONCE]:
            del chosen[number]  # handed out for good
        for number, args in enumerate(found, order.problem.first):
            chosen[number] = _Chosen(order.config_digest, args)

    def forget_ended(self) -> None:
        """Give back what is held in memory for sweeps that have ended; one that is opened again is read again."""
        for sweep_id in self._sweeps.ended_among({*self._chosen, *self._observations.sweep_ids()}):
            self._chosen.pop(sweep_id, None)
            self._observations.forget(sweep_id)


def suggest(problem: Problem) -> list[Args]:
    """Solve a problem; the first time takes seconds more, for the imports.

    Raises:
        ClientError: The packages that it needs are gone.
    """
    require_packages()
    from .search.suggest import suggest as by_optuna

    return by_optuna(problem)


class Suggester:
    """Has trials chosen in a thread of its own while the store goes on; used in the event loop.

    Agents that come for a trial wait here in the order of their coming, and each is woken when there is one more.
    """

    def __init__(
        self,
        run_in_store: Callable[[Callable[[], Any]], Awaitable[Any]],
        suggestions: Suggestions,
        solve: Callable[[Problem], list[Args]] = suggest,
        patience_s: float = 5.0,
    ) -> None:
        """patience_s: after that an agent is told to come again. W&B's wait for an answer for 19 s and more."""
        self._run_in_store = run_in_store
        self._suggestions = suggestions
        self._solve = solve
        self._patience_s = patience_s
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="suggester")

    async def wait_for_trial(self, sweep_id: int) -> None:
        """Return when it is worth while to ask the store for a trial once more, or nothing came for too long.

        Raises:
            Exception: What kept the trial from being chosen.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sweep_id, deque()).append(waiter)
        if sweep_id not in self._tasks:
            self._tasks[sweep_id] = asyncio.create_task(self._serve(sweep_id))
        try:
            done, _ = await asyncio.wait({waiter}, timeout=self._patience_s)
            if done:
                waiter.result()
        finally:
            waiter.cancel()

    async def _serve(self, sweep_id: int) -> None:
        waiting = self._waiting[sweep_id]
        try:
            while count := sum(not waiter.done() for waiter in waiting):
                order = await self._run_in_store(lambda: self._suggestions.order(sweep_id, count))
                if order is None:
                    return
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._thread, self._solve, order.problem)
                await self._run_in_store(lambda: self._suggestions.put(order, found))  # noqa: B023
                _wake(waiting, len(found))
        except Exception as error:  # noqa: BLE001 (whatever it is, those who wait are told)
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            _wake(waiting, len(waiting))
            del self._waiting[sweep_id], self._tasks[sweep_id]

    async def close(self) -> None:
        """Let nobody wait any longer; what is being computed is left to itself."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)


def _wake(waiting: deque[asyncio.Future[None]], count: int) -> None:
    """Wake the first that still wait; forget those that don't."""
    while waiting and count:
        waiter = waiting.popleft()
        if not waiter.done():
            waiter.set_result(None)
            count -= 1
