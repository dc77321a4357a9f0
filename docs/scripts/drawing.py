"""Draws docs/images/architecture.svg: who talks to whom in a sweep.

    python docs/scripts/drawing.py

Plain shapes and system fonts, in the reader's light or dark colours; nothing is loaded from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

DRAWING = Path(__file__).resolve().parents[1] / "images" / "architecture.svg"

WIDTH, HEIGHT = 900, 510
_STYLE = """\
  text { font: 14px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .box { fill: #f6f8fa; stroke: #59636e; stroke-width: 1.2; }
  .inner { fill: #ffffff; stroke: #59636e; stroke-width: 1; }
  .arrow { fill: none; stroke: #0b6e6e; stroke-width: 1.6; marker-end: url(#head); }
  .head { fill: #0b6e6e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9da7b1; }
    .box { fill: #161b22; stroke: #9da7b1; }
    .inner { fill: #0d1117; stroke: #9da7b1; }
    .arrow { stroke: #5cc8c8; }
    .head { fill: #5cc8c8; }
  }
"""


@dataclass(frozen=True)
class Box:
    """x, y: of the upper left corner, in pixels like the rest. lines: below the title."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    style: str = "box"


@dataclass(frozen=True)
class Arrow:
    """points: from the first to the last. label: its lines, the first one ending or beginning at `at`."""

    points: tuple[tuple[int, int], ...]
    label: tuple[str, ...]
    at: tuple[int, int]
    anchor: str = "middle"


BOXES = (
    Box(
        20,
        30,
        280,
        96,
        "Supervisor",
        (
            "python train.py -m hydra/sweeper=wandb",
            "checks, makes the sweep, submits,",
            "replaces what dies, reports",
        ),
    ),
    Box(600, 30, 280, 96, "Server", ("W&B, or the embedded one:", "searches, hands out trials,", "keeps runs")),
    Box(250, 226, 410, 166, "Job", ("any number of them",)),
    Box(270, 280, 170, 96, "Agent", ("has your code imported,", "claims trials until", "none are left"), "inner"),
    Box(500, 280, 140, 96, "Trial", ("forked; composes,", "runs your task,", "may die alone"), "inner"),
    Box(
        20,
        430,
        860,
        58,
        "Sweep directory",
        ("the ledger .sweep/ (who has begun and ended what), a directory for each trial, results",),
    ),
)
ARROWS = (
    Arrow(((300, 60), (598, 60)), ("sweep config, state",), (445, 52)),
    Arrow(((180, 126), (180, 310), (248, 310)), ("agents, by", "Hydra's launcher"), (172, 230), "end"),
    Arrow(((395, 280), (395, 168), (680, 168), (680, 128)), ("claim, heartbeat",), (530, 160)),
    Arrow(((740, 126), (740, 192), (425, 192), (425, 278)), ("values of a trial, stop, exit",), (575, 210)),
    Arrow(((440, 328), (498, 328)), ("fork",), (468, 320)),
    Arrow(((640, 328), (800, 328), (800, 128)), ("run: config,", "history, log"), (792, 262), "end"),
    Arrow(((355, 392), (355, 428)), ("begins, ends, hand-overs",), (363, 414), "start"),
    Arrow(((60, 430), (60, 128)), ("what has", "happened"), (68, 362), "start"),
    Arrow(((570, 392), (570, 428)), ("result, output, checkpoints",), (578, 414), "start"),
)


def draw() -> str:
    """Return the drawing as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>A sweep: the supervisor, the server, jobs with agents and trials, and the sweep directory</title>",
        f"<style>\n{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        *(_box(box) for box in BOXES),
        *(_arrow(arrow) for arrow in ARROWS),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(box: Box) -> str:
    shape = f'<rect class="{box.style}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="8"/>'
    x, y = box.x + 12, box.y + 22
    title = f'<text class="title" x="{x}" y="{y}">{escape(box.title)}</text>'
    lines = [_small(line, x, y + 20 + 17 * number, "start") for number, line in enumerate(box.lines)]
    return "\n".join([shape, title, *lines])


def _arrow(arrow: Arrow) -> str:
    path = " L".join(f"{x} {y}" for x, y in arrow.points)
    x, y = arrow.at
    lines = [_small(line, x, y + 15 * number, arrow.anchor) for number, line in enumerate(arrow.label)]
    return "\n".join([f'<path class="arrow" d="M{path}"/>', *lines])


def _small(text: str, x: int, y: int, anchor: str) -> str:
    return f'<text class="small" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    DRAWING.parent.mkdir(exist_ok=True)
    DRAWING.write_text(draw(), encoding="utf-8")
