"""What a view looks like: in a terminal of any size, and as a line."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hydra_plugins.hydra_wandb_sweeper._progress_display import ProgressDisplay
from hydra_plugins.hydra_wandb_sweeper._progress_text import progress_line
from hydra_plugins.hydra_wandb_sweeper._progress_view import AgentView, BestView, FailureView, ProgressView

AGENTS = (
    *(AgentView(f"agent-{n}", f"104_{n}", f"n{n}", "running", 37 + n, 12.4 + n, 7140.0) for n in range(3)),
    AgentView("agent-3", "104_3", "n3", "idle", job_left_s=65.0),
    AgentView("agent-4", "104_4", "", "starting"),
    AgentView("agent-5", "104_5", "", "waiting"),
)
VIEW = ProgressView(
    name="train",
    sweep="local/train/7ba0ikot",
    url="http://login:38095/local/train/sweeps/7ba0ikot",
    metric="loss",
    state="running",
    finished=31,
    failed=4,
    stopped=2,
    running=3,
    queued=80,
    total=120,
    elapsed_s=200.0,
    per_min=12.345,
    left_s=420.0,
    best=BestView(17, 0.0123, "lr=0.001 model=small"),
    agents=AGENTS,
    failures=(
        FailureView(12, "ValueError: [red]x[/red] is no good", "/home/me/project/multirun/12/trial.log", True),
        FailureView(40, "The trial's process was killed by SIGKILL (out of memory?)", None, False),
    ),
)
NEW = replace(
    VIEW, finished=0, failed=0, stopped=0, running=0, queued=0, total=None, elapsed_s=3.0, per_min=None, left_s=None,
    best=None, agents=(), failures=(),
)  # fmt: skip


def drawn(view: ProgressView, width: int, height: int = 30) -> str:
    """What a terminal without colours shows."""
    file = io.StringIO()
    Console(file=file, width=width, height=height, color_system=None).print(ProgressDisplay(view))
    return "\n".join(line.rstrip() for line in file.getvalue().split("\n")).rstrip("\n")


WIDE = """\
train  local/train/7ba0ikot
http://login:38095/local/train/sweeps/7ba0ikot
━━━━━━━━━━━━━━━━━━━━━━━━────────────────────────────────────────────────────────
37/120 ended  31 finished  4 failed  2 stopped  3 running  80 queued
12.3 per minute  about 7 min left  3 min 20 s so far
best loss 0.0123  trial 17  lr=0.001 model=small
agent    job    host  state     trial   for  job ends in
agent-0  104_0  n0    running      37  12 s   1 h 59 min
agent-1  104_1  n1    running      38  13 s   1 h 59 min
agent-2  104_2  n2    running      39  14 s   1 h 59 min
agent-3  104_3  n3    idle                     1 min 5 s
agent-4  104_4        starting
agent-5  104_5        waiting
trial 12 failed: ValueError: [red]x[/red] is no good
  /home/me/project/multirun/12/trial.log
trial 40 failed, is run again: The trial's process was killed by SIGKILL (out o…"""
NARROW = """\
train  local/train/7ba0ikot
http://login:38095/local/train/sweeps/7ba0ikot
━━━━━━━━━━━━━━━━━━──────────────────────────────────────────
37/120 ended  31 finished  4 failed  2 stopped  3 running
80 queued
12.3 per minute  about 7 min left  3 min 20 s so far
best loss 0.0123  trial 17  lr=0.001 model=small
agent    job    host  state    trial   for  job ends in
agent-0  104_0  n0    running     37  12 s   1 h 59 min
agent-1  104_1  n1    running     38  13 s   1 h 59 min
and 4 more: 1 running, 1 idle, 1 starting, 1 waiting
trial 12 failed: ValueError: [red]x[/red] is no good
  /home/me/project/multirun/12/trial.log
trial 40 failed, is run again: The trial's process was kill…"""
OPEN = """\
train  local/train/7ba0ikot
http://login:38095/local/train/sweeps/7ba0ikot
0 ended  0 finished  0 running  0 queued
time left unknown  3 s so far"""


@pytest.mark.parametrize(
    ("view", "width", "height", "text"),
    [
        pytest.param(VIEW, 80, 30, WIDE, id="80 columns"),
        pytest.param(VIEW, 60, 17, NARROW, id="60 columns and 17 lines"),
        pytest.param(NEW, 80, 30, OPEN, id="nothing is known yet"),
    ],
)
def test_a_view_is_drawn_to_fit(view: ProgressView, width: int, height: int, text: str) -> None:
    assert drawn(view, width, height) == text


ORDERS = {"paused": "paused: no trial begins", "draining": "no more trials begin"}


@pytest.mark.parametrize(("state", "words"), ORDERS.items(), ids=list(ORDERS))
def test_orders_stand_beside_the_name(state: str, words: str) -> None:
    assert drawn(replace(VIEW, state=state), 80).splitlines()[0].endswith(words)


def test_what_all_have_ended_has_no_time_left() -> None:
    done = replace(VIEW, finished=120, failed=0, stopped=0, running=0, queued=0, left_s=0.0)
    assert drawn(done, 80).splitlines()[2:5] == [
        "━" * 80,
        "120/120 ended  120 finished  0 running  0 queued",
        "12.3 per minute  3 min 20 s so far",
    ]


@settings(max_examples=30)
@given(
    width=st.integers(60, 200),
    height=st.integers(20, 60),
    agents=st.integers(0, 90),
    text=st.text(max_size=300),
    failures=st.integers(0, 3),
)
def test_it_fits_any_terminal(width: int, height: int, agents: int, text: str, failures: int) -> None:
    words = "".join(c for c in text if c.isprintable())
    view = replace(
        VIEW,
        agents=tuple(AgentView(f"agent-{n}", str(n), words[:20], "running", n, 1.0, None) for n in range(agents)),
        best=BestView(1, 0.5, words),
        failures=tuple(FailureView(n, words, "/log", True) for n in range(failures)),
    )
    lines = drawn(view, width, height).split("\n")
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (
            VIEW,
            "37/120 trial(s) have ended (4 failed, 2 stopped), 3 running, 80 to begin; 4 agent(s) at work, "
            "1 starting, 1 waiting; 12.3 per minute; about 7 min left; "
            "best loss=0.0123 (trial 17: lr=0.001 model=small).",
        ),
        (NEW, "0 trial(s) have ended, 0 running, 0 to begin; 0 agent(s) at work; time left unknown."),
        (
            replace(NEW, state="paused", total=3, queued=3),
            "0/3 trial(s) have ended, 0 running, 3 to begin; paused; 0 agent(s) at work; time left unknown.",
        ),
    ],
)
def test_a_view_is_a_line_as_well(view: ProgressView, line: str) -> None:
    assert progress_line(view) == line


def words_of(svg: str) -> str:
    """The text in a picture without its spaces: versions of rich differ in how they cut it into elements."""
    return "".join(
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if "text" in element.tag
    )


def test_the_picture_in_the_documentation_is_what_users_see() -> None:
    """If it isn't: make pictures."""
    from tests.pictures import PROGRESS, progress_svg

    picture = PROGRESS.read_text(encoding="utf-8")
    assert words_of(picture) == words_of(progress_svg())
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "").replace("http://login:38095", "")
