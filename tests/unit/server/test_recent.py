"""What is kept of what was worked out lately."""

from __future__ import annotations

from wandb_sweep_server.recent import Recent


def test_the_least_recent_value_makes_room() -> None:
    recent: Recent[int, str] = Recent(2)
    recent.put(1, "a")
    recent.put(2, "b")
    assert recent.get(1) == "a"
    assert recent.peek(2) == "b"  # which makes it no more recent
    recent.put(3, "c")
    assert (recent.keys(), recent.get(2), recent.peek(2)) == ([1, 3], None, None)


def test_heavy_values_make_room_for_each_other_and_the_last_one_always_stays() -> None:
    recent: Recent[int, str] = Recent(10, most_weight=10)
    for key in range(4):
        recent.put(key, "", 3)
    assert recent.keys() == [1, 2, 3]
    recent.put(3, "", 1)  # again, and lighter: there is room for three more
    recent.put(4, "", 3)
    assert recent.keys() == [1, 2, 3, 4]
    recent.put(5, "", 99)
    assert recent.keys() == [5]
    recent.drop(5)
    recent.drop(5)
    for key in range(4):
        recent.put(key, "", 3)
    assert recent.keys() == [1, 2, 3]
    recent.clear()
    assert len(recent) == 0
