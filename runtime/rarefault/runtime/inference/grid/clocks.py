"""The devices' clocks: the time of each device, from its samples in their order of arrival.

A device's time is the largest time seen of it: it closes bins, and what comes after its bin has closed is late. A clock
that was wrong once must not stop a device for good, so two things are not believed at once:

* a sample further ahead than ``max_gap`` waits, with its values, until a second sample that is as far ahead agrees.
  A sample that goes on where the device was before drops it. So a single absurd stamp closes nothing, while the first
  sample after a real gap is taken with the one that follows it, and the verdicts of ordinary data stay as they are;
* where several wrong samples agreed, the present ones are late. ``restart_after`` of them in a row that go forward, or
  three that span ``max_gap``, and that lie where nothing was ever judged, make the device start anew at their time.

No window is judged twice: bins that a device has been at are remembered as stretches, are no reason to start anew, and
are dropped where its time comes to them again. So an old backlog that was judged before moves nothing; one from a
stretch that was never judged is judged, if it comes in one piece.
"""

import numpy as np

from rarefault.runtime.arrays import NEVER, Int64, after, begins, ends
from rarefault.runtime.inference.grid.clock_walk import FEW, ClockArrays, DeviceWalk, Placement
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.times import TIME_LIMIT_MS


class Clocks(ClockArrays):
    """The time of every device.

    Args:
        spec: of the grid.
    """

    def __init__(self, spec: GridSpec) -> None:
        super().__init__()
        self.spec = spec

    def start_after(self, device: int, newest_ms: int) -> None:
        """Begin with a device that had a sample of that time once."""
        self.newest_ms[device] = newest_ms
        self.begin[device] = self.spec.bin_of(newest_ms)
        self.floor[device] = self.spec.bin_of(max(0, newest_ms - self.spec.lateness_ms)) - 1

    def start_anew(self, device: int) -> None:
        """Take the next sample of a device as its first."""
        self.newest_ms[device] = NEVER
        self.unsettled[device] = True

    def heard_ms(self, devices: Int64) -> Int64:
        """Time of the last sample of each device, be it late because its clock was wrong before, [D]."""
        heard: Int64 = np.where(self.strays[devices] >= FEW, self.stray_newest_ms[devices], self.newest_ms[devices])
        return heard

    def muted(self) -> Int64:
        """Slots of devices of which all samples have been late for a while."""
        return np.flatnonzero((self.strays >= FEW) | (self.late_run >= self.spec.restart_after))

    def follow(self, devices: Int64, times: Int64) -> Placement:
        """What becomes of samples that are sorted by device, then by arrival."""
        spec = self.spec
        first = begins(devices)
        rank = np.cumsum(first) - 1
        touched = devices[first]
        known = self.newest_ms[devices]
        # One running maximum serves all devices: each is lifted above the ones before it.
        lift = rank * TIME_LIMIT_MS
        newest = np.maximum.accumulate(np.maximum(times, np.where(first, known, 0)) + lift) - lift
        before = np.where(first, known, after(NEVER, newest))
        closing = spec.end_ms(spec.bin_of(times)) + spec.lateness_ms
        ordinary = (closing > before) & (times - before <= spec.gap_ms)
        slow = self.unsettled[touched]
        last = ends(first)
        if not slow.any() and ordinary.all():
            self.newest_ms[touched] = newest[last]
            return Placement(touched, ordinary, accepted=len(times))
        slow[rank[~ordinary]] = True
        plain = ~slow
        self.newest_ms[touched[plain]] = newest[last][plain]
        ordinary &= plain[rank]
        placement = Placement(touched, ordinary, accepted=int(ordinary.sum()))
        start, stop = np.flatnonzero(first), np.flatnonzero(last) + 1
        for r in np.flatnonzero(slow).tolist():
            DeviceWalk(self, spec, int(touched[r]), placement).go(times, int(start[r]), int(stop[r]))
        return placement
