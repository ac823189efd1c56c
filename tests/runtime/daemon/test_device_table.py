"""The table of devices: each has one slot, and the row of a slot is as new for every device that gets it."""

import math

from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.daemon.devices import DeviceTable

NAMES = st.sampled_from([f"device {i}" for i in range(40)])
STEPS = st.lists(
    st.tuples(st.just("mention"), st.lists(NAMES, max_size=8))
    | st.tuples(st.just("forget"), st.lists(NAMES, unique=True, max_size=5))
    | st.tuples(st.just("recover"), st.lists(NAMES, unique=True, max_size=30))
    | st.tuples(st.just("save"), st.just([])),
    max_size=40,
)


class Checked:
    """A table beside a plain dict of slots."""

    def __init__(self) -> None:
        self.table = DeviceTable()
        self.plain: dict[str, int] = {}
        self.unsaved: list[str] = []

    def mention(self, names: list[str]) -> None:
        for name in names:
            new = name not in self.plain
            slot = self.plain.setdefault(name, self.table.slot(name))
            assert self.table.slot(name) == slot
            if new:
                assert slot == min(set(range(41)) - set(self.plain.values()) | {slot})  # the smallest that is free
                self.unsaved.append(name)
                self.check_fresh(slot)
                self.use(slot, name)

    def check_fresh(self, slot: int) -> None:
        table = self.table
        assert (table.number[slot], table.silent[slot], table.topic[slot], table.newest_ms[slot]) == (-1, False, "", -1)

    def use(self, slot: int, name: str) -> None:
        table = self.table
        table.number[slot], table.silent[slot], table.topic[slot] = int(name.split()[1]), True, f"x/{name}"
        table.tokens[slot], table.newest_ms[slot], table.filled_ms[slot] = 1.5, 7, 8

    def forget(self, names: list[str]) -> None:
        there = [name for name in names if name in self.plain]
        self.table.forget([self.plain[name] for name in there])
        for name in there:
            slot = self.plain.pop(name)
            self.check_fresh(slot)
            assert math.isinf(self.table.heard_at[slot])
        self.unsaved = [name for name in self.unsaved if name in self.plain]

    def recover(self, names: list[str]) -> None:
        """As after a turn that could not be kept: what was there before is gone."""
        self.table.assign([])
        assert not len(self.table)
        assert not self.table.silent.any()
        self.plain.clear()
        self.table.assign(["" if i % 3 == 0 else name for i, name in enumerate(names)])
        self.plain |= {name: i for i, name in enumerate(names) if i % 3}
        self.unsaved = []
        for name, slot in self.plain.items():
            self.check_fresh(slot)
            self.use(slot, name)

    def save(self, _names: list[str]) -> None:
        self.table.saved()
        self.unsaved = []

    def check(self) -> None:
        table = self.table
        assert dict(table.by_name) == self.plain
        assert len(table) == len(self.plain)
        assert {name: slot for slot, name in enumerate(table.names) if name} == self.plain
        assert [table.names[slot] for slot in table.unsaved] == self.unsaved
        for name, slot in self.plain.items():
            assert (int(table.number[slot]), table.topic[slot]) == (int(name.split()[1]), f"x/{name}")
            assert (table.tokens[slot], table.newest_ms[slot], table.filled_ms[slot]) == (1.5, 7, 8)
            assert math.isfinite(table.heard_at[slot])


@given(STEPS)
def test_it_is_as_a_plain_dict(steps: list[tuple[str, list[str]]]) -> None:
    """Mentioned, forgotten, recovered in any order: slots are unique, rows keep what is theirs, new ones are empty."""
    checked = Checked()
    for step, names in steps:
        getattr(checked, step)(names)
        checked.check()


def test_a_free_slot_is_never_silent() -> None:
    """Freed and unused rows count as heard for ever."""
    table = DeviceTable()
    for name in ("a", "b", "c"):
        table.slot(name)
    table.forget([1])
    assert [math.isinf(at) for at in table.heard_at[:4]] == [False, True, False, True]
    assert table.slot("d") == 1
