"""The names of scheduled backups, and which of them go."""

from __future__ import annotations

import pytest

from deora.backup.names import Named, name_of, of_node, read_name, surplus

AT_S = 1_769_860_800  # 2026-01-31T12:00:00Z


def test_a_name_says_whose_it_is_when_it_was_made_and_up_to_which_commit() -> None:
    name = name_of("k3x9", AT_S, 12345)
    assert name == "deora-k3x9-20260131T120000Z-000000012345.db"
    assert read_name(name) == Named(name, "k3x9", AT_S, 12345)


@pytest.mark.parametrize(
    "name",
    [
        "deora-k3x9-20260131T120000Z-000000012345.db.part",
        ".deora-k3x9.part",
        "deora-k3x9-20261331T120000Z-000000012345.db",
        "deora-k3x9-20260131T120000Z-12345.db",
        "deora--20260131T120000Z-000000012345.db",
        "x-deora-k3x9-20260131T120000Z-000000012345.db",
        "deora-k3x9-20260131T120000Z-000000012345.db\n",
        "store.db",
    ],
)
def test_what_has_another_name_is_none_of_ours(name: str) -> None:
    assert read_name(name) is None
    assert surplus([name], "k3x9", 1) == []


def test_the_last_commits_stay_whatever_the_clock_said() -> None:
    # The clock went back by years before the last two.
    names = [name_of("a", AT_S + day * 86400, day) for day in range(5)]
    names += [name_of("a", day * 86400, 10 + day) for day in range(2)]
    assert [named.commit for named in of_node(reversed(names), "a")] == [0, 1, 2, 3, 4, 10, 11]
    assert surplus(names, "a", 3) == sorted(names[:4])
    assert surplus(names, "a", 7) == surplus(names, "a", 100) == []


def test_another_boxs_backups_stay_and_what_belongs_to_one_goes_with_it() -> None:
    ours, theirs = ([name_of(node, AT_S + n, n) for n in range(3)] for node in ("a", "b"))
    beside = [f"{name}.upstream-primary" for name in ours + theirs]
    assert surplus([*ours, *theirs, *beside, "notes.txt"], "a", 2) == [ours[0], beside[0]]
