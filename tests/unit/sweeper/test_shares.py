"""What each of several agents of a job gets of its GPUs and CPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._shares import by_core, share_of, split, usable_cpus

UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0")
CUDA = "CUDA_VISIBLE_DEVICES"
ROCR = "ROCR_VISIBLE_DEVICES"
INTEL = "ZE_AFFINITY_MASK"


@given(st.lists(st.integers()), st.integers(1, 20))
def test_parts_in_order_are_the_whole_and_differ_by_one_at_most(items: list[int], parts: int) -> None:
    pieces = split(items, parts)
    assert len(pieces) == parts
    assert [item for piece in pieces for item in piece] == items
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("environ", "agents", "each"),
    [
        ({CUDA: "0,1,2,3"}, 2, [{CUDA: "0,1"}, {CUDA: "2,3"}]),
        ({CUDA: "4,5,7"}, 2, [{CUDA: "4"}, {CUDA: "5,7"}]),
        ({CUDA: ",".join(UUIDS)}, 2, [{CUDA: UUIDS[0]}, {CUDA: UUIDS[1]}]),
        ({CUDA: "3"}, 2, [{CUDA: "3"}, {CUDA: "3"}]),
        ({CUDA: "2,3"}, 5, [{CUDA: "2"}, {CUDA: "3"}, {CUDA: "2"}, {CUDA: "3"}, {CUDA: "2"}]),
        ({ROCR: "0,1"}, 2, [{ROCR: "0"}, {ROCR: "1"}]),
        ({INTEL: "0.0,0.1,1.0,1.1"}, 2, [{INTEL: "0.0,0.1"}, {INTEL: "1.0,1.1"}]),
        # Once is enough where one is read as places in the other.
        ({CUDA: "0,1", ROCR: "0,1", INTEL: "0,1"}, 2, [{CUDA: "0", INTEL: "0"}, {CUDA: "1", INTEL: "1"}]),
        ({}, 2, [{}, {}]),
        ({CUDA: ""}, 2, [{}, {}]),
        ({CUDA: "-1"}, 2, [{}, {}]),
        ({CUDA: "NoDevFiles"}, 2, [{}, {}]),
        ({"OMP_NUM_THREADS": "8", "PATH": "a,b"}, 2, [{}, {}]),
    ],
)
def test_gpus_are_divided_by_the_variables_that_name_them(
    environ: dict[str, str], agents: int, each: list[dict[str, str]]
) -> None:
    assert [share_of(agent, agents, environ, []).environ for agent in range(agents)] == each


@pytest.mark.parametrize(
    ("cpus", "agents", "each"),
    [
        (range(8), 2, [(0, 1, 2, 3), (4, 5, 6, 7)]),
        ([0, 64, 1, 65], 2, [(0, 64), (1, 65)]),
        (range(3), 2, [(0,), (1, 2)]),
        ([5], 2, [None, None]),
        ([], 2, [None, None]),
    ],
)
def test_cpus_are_divided_unless_there_are_too_few(
    cpus: list[int], agents: int, each: list[tuple[int, ...] | None]
) -> None:
    assert [share_of(agent, agents, {}, cpus).cpus for agent in range(agents)] == each


@pytest.mark.parametrize(
    ("environ", "cpus", "text"),
    [
        ({CUDA: "0,1,2,3"}, range(8), "GPUs 2,3 (CUDA_VISIBLE_DEVICES), CPUs 4-7"),
        ({CUDA: "7"}, [0, 64, 1, 65, 3], "GPUs 7 (CUDA_VISIBLE_DEVICES, shared: 1 for 2 agents), CPUs 1,3,65"),
        ({}, [3], "all CPUs of the job (only 1 for 2 agents)"),
        ({}, [], ""),
    ],
)
def test_the_log_says_what_an_agent_gets(environ: dict[str, str], cpus: list[int], text: str) -> None:
    assert share_of(1, 2, environ, cpus).text == text


def test_cpus_of_one_core_and_of_one_socket_stay_together(tmp_path: Path) -> None:
    # Two sockets of two cores; even numbers are the first socket's, and 4 to 7 the second threads.
    for cpu in range(8):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
        (topology / "physical_package_id").write_text(f"{cpu % 2}\n")
    assert by_core(range(8), tmp_path) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert by_core([6, 7, 3], tmp_path) == [6, 3, 7]


def test_cpus_are_in_order_of_their_numbers_where_nothing_is_known_of_cores(tmp_path: Path) -> None:
    assert by_core({3, 1, 2}, tmp_path) == [1, 2, 3]


def test_the_cpus_of_this_process_are_found_each_once() -> None:
    assert sorted(usable_cpus()) == sorted(os.sched_getaffinity(0))
