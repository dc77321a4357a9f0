"""How far a sweep is, as what rich draws: fits a terminal of any size. Pure; imports rich, so it is imported late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ._progress_text import ended_of, rates
from ._progress_view import AgentView, FailureView, ProgressView
from ._wording import duration_text

# Lines that the terminal keeps for what is written above the display.
_LINES_ABOVE = 3
_FEWEST_AGENTS = 3
_STYLES = {"finished": "green", "failed": "red", "stopped": "yellow", "running": "cyan"}
_AGENT_ORDER = {"running": 0, "idle": 0, "starting": 1, "waiting": 2}


@dataclass(frozen=True)
class ProgressDisplay:
    """A view, to be drawn by rich. Nothing in it is read as markup: names and errors are other people's texts."""

    view: ProgressView

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        view, width = self.view, options.max_width
        head = [
            Text.assemble((view.name, "bold"), f"  {view.sweep}", (_state(view), "yellow")),
            Text(view.url, style="dim"),
        ]
        if view.total:
            head.append(_bar(view, width))
        head += [_counts(view), _speed(view)]
        if view.best is not None:
            best = view.best
            value = Text.assemble(
                f"best {view.metric} ", (f"{best.value:.6g}", "bold green"), f"  trial {best.trial}  "
            )
            value.append(best.parameters).truncate(2 * width, overflow="ellipsis")
            head.append(value)
        tail = [line for failure in view.failures for line in _failure(failure)]
        lines = sum(1 if text.no_wrap else len(text.wrap(console, width)) for text in (*head, *tail))
        agents = _agents(view.agents, options.size.height - _LINES_ABOVE - lines - 1) if view.agents else ()
        # Lines that are printed above a display are not to be wrapped, and rich would draw it by the same options.
        own = options.update(no_wrap=False, overflow="fold")
        for part in (*head, *agents, *tail):
            yield from console.render(part, own)


def _state(view: ProgressView) -> str:
    if view.state == "running":
        return ""
    return "  paused: no trial begins" if view.state == "paused" else "  no more trials begin"


def _bar(view: ProgressView, width: int) -> Text:
    """What has ended, how, what runs, and what is yet to begin, each by its share of the total."""
    total = max(view.total or 0, view.ended + view.running, 1)
    bar, drawn, count = Text(no_wrap=True), 0, 0
    for state, style in _STYLES.items():
        count += getattr(view, state)
        cells = width * count // total - drawn
        drawn += cells
        bar.append(("─" if state == "running" else "━") * cells, style)
    return bar.append("─" * (width - drawn), "bright_black")


def _counts(view: ProgressView) -> Text:
    text = Text.assemble((ended_of(view), "bold"), " ended")
    for state, style in _STYLES.items():
        count = getattr(view, state)
        if count or state in ("finished", "running"):
            text.append("  ").append(f"{count} {state}", style if count else "dim")
    return text.append("  ").append(f"{view.queued} queued", "" if view.queued else "dim")


def _speed(view: ProgressView) -> Text:
    return Text("  ".join([*rates(view), f"{duration_text(round(view.elapsed_s))} so far"]))


def _agents(agents: Sequence[AgentView], most_lines: int) -> Iterator[RenderableType]:
    """A row for each, as many as there is room for: those that work before those that wait."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for name in ("agent", "job", "host", "state"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("trial", "for", "job ends in"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right")
    room = max(_FEWEST_AGENTS, most_lines - 1)  # the heading
    ordered = sorted(agents, key=lambda agent: _AGENT_ORDER[agent.state])
    shown = ordered if len(ordered) <= room else ordered[: room - 1]
    for agent in shown:
        cells = (agent.name, agent.job_id, agent.host, agent.state, _number(agent.trial))
        times = (_time(agent.trial_s), _time(agent.job_left_s))
        table.add_row(*(Text(cell) for cell in (*cells, *times)), style="" if agent.state == "running" else "dim")
    yield table
    if hidden := ordered[len(shown) :]:
        states = Counter(agent.state for agent in hidden)
        yield Text(f"and {len(hidden)} more: {', '.join(f'{n} {s}' for s, n in states.items())}", style="dim")


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration_text(round(seconds))


def _failure(failure: FailureView) -> list[Text]:
    again = "" if failure.is_final else ", is run again"
    first = Text.assemble((f"trial {failure.trial} failed{again}", "red"), f": {failure.error}")
    first.no_wrap, first.overflow = True, "ellipsis"
    return [first, *([Text(f"  {failure.log}", style="dim")] if failure.log else [])]
