"""Slots: the row that each device has in every array that is kept by device."""

from collections.abc import Iterable, Mapping, Sequence


class Slots:
    """Names of devices to slots, small numbers that are given out at the first mention of a name.

    Attributes:
        names: by slot; empty where the slot is free.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._by_name: dict[str, int] = {}
        self._free: list[int] = []  # the smallest last

    def __len__(self) -> int:
        """Number of devices."""
        return len(self._by_name)

    @property
    def by_name(self) -> Mapping[str, int]:
        """Slot of each device."""
        return self._by_name

    def slot(self, name: str) -> int:
        """The slot of a device, given out at its first mention."""
        found = self._by_name.get(name)
        return self._give(name) if found is None else found

    def forget(self, slots: Iterable[int]) -> None:
        """Free slots, for other devices."""
        for slot in slots:
            del self._by_name[self.names[slot]]
            self.names[slot] = ""
            self._free.append(slot)
        self._free.sort(reverse=True)

    def assign(self, names: Sequence[str]) -> None:
        """Begin anew with these devices, and no others.

        Args:
            names: by slot, empty for a free one.
        """
        self.names[:] = names
        self._by_name.clear()
        self._by_name |= {name: slot for slot, name in enumerate(names) if name}
        self._free = [slot for slot in reversed(range(len(names))) if not names[slot]]

    def _give(self, name: str) -> int:
        if self._free:
            slot = self._free.pop()
            self.names[slot] = name
        else:
            slot = len(self.names)
            self.names.append(name)
        self._by_name[name] = slot
        return slot
