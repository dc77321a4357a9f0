"""How far a sweep is, in words: for logs, pipes and notebooks, and for the display's parts. Pure."""

from __future__ import annotations

from collections import Counter

from ._progress_view import ProgressView
from ._wording import duration_text


def progress_line(view: ProgressView) -> str:
    """Return a view as one sentence."""
    parts = [f"{ended_of(view)} trial(s) have ended{_states(view)}, {view.running} running, {view.queued} to begin"]
    parts += [f"{view.state}"] if view.state != "running" else []
    parts += [agents_text(view), *rates(view)]
    if view.best is not None:
        parts.append(f"best {view.metric}={view.best.value:.6g} (trial {view.best.trial}: {view.best.parameters})")
    return "; ".join(part for part in parts if part) + "."


def ended_of(view: ProgressView) -> str:
    """`37/120`, or `37` where only the server knows how many there will be."""
    return f"{view.ended}/{view.total}" if view.total is not None else f"{view.ended}"


def rates(view: ProgressView) -> list[str]:
    """Trials per minute, and the time to the end, as far as they are known."""
    known = [f"{view.per_min:.3g} per minute"] if view.per_min is not None else []
    if view.ended == view.total:
        return known
    if view.left_s is None:
        return [*known, "time left unknown"]
    return [*known, f"about {duration_text(max(1, round(view.left_s)))} left"]


def agents_text(view: ProgressView) -> str:
    """How many agents are in which state: `8 agents, 2 waiting`."""
    counts = Counter(agent.state for agent in view.agents)
    working = counts["running"] + counts["idle"]
    rest = [f"{counts[state]} {state}" for state in ("starting", "waiting") if counts[state]]
    return ", ".join([f"{working} agent(s) at work", *rest])


def _states(view: ProgressView) -> str:
    """What isn't finished of what has ended."""
    others = [f"{count} {state}" for state, count in (("failed", view.failed), ("stopped", view.stopped)) if count]
    return f" ({', '.join(others)})" if others else ""
