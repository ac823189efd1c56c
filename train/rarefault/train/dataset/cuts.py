"""Where a device's time is cut into blocks: at multiples of their length, moved to where no short event is active."""

from rarefault.runtime.arrays import Int64
from rarefault.train.history import History


def find_cuts(history: History, slot: int, start: int, end: int, block_ms: int) -> list[int]:
    """Instants strictly between start and end at which the device's time is cut."""
    events = history.events
    short = (events.device == slot) & (events.end_ms - events.start_ms < block_ms)
    busy = _merge(events.start_ms[short], events.end_ms[short])
    cuts: list[int] = []
    for nominal in range((start // block_ms + 1) * block_ms, end, block_ms):
        cut = _nearest_free(nominal, busy)
        if abs(cut - nominal) <= block_ms // 2 and start < cut < end and (not cuts or cut > cuts[-1]):
            cuts.append(cut)
    # A stub at either end, shorter than half a block, joins its neighbour.
    if cuts and cuts[0] - start < block_ms // 2:
        cuts.pop(0)
    if cuts and end - cuts[-1] < block_ms // 2:
        cuts.pop()
    return cuts


def _merge(start_ms: Int64, end_ms: Int64) -> list[tuple[int, int]]:
    """Intervals joined that overlap or leave no instant between them that is free, in order."""
    joined: list[tuple[int, int]] = []
    for a, b in sorted(zip(start_ms.tolist(), end_ms.tolist(), strict=True)):
        if joined and a <= joined[-1][1] + 2:
            joined[-1] = (joined[-1][0], max(joined[-1][1], b))
        else:
            joined.append((a, b))
    return joined


def _nearest_free(nominal: int, busy: list[tuple[int, int]]) -> int:
    """The instant nearest to ``nominal`` that no busy interval covers; of two equally near ones the earlier."""
    for a, b in busy:
        if a <= nominal <= b:
            return a - 1 if nominal - a <= b - nominal else b + 1
    return nominal
