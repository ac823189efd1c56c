"""The time grid: irregular samples to fixed bins, for all devices at once.

One algorithm serves the trainer (the whole history in one push) and the daemon (a few messages a push): the result
does not depend on how the samples are cut into pushes, only on their order of arrival at each device.

The rules, for a period P (without an offset, bin ``b`` covers ``[b P, (b + 1) P)`` from the epoch on; see
:meth:`rarefault.runtime.inference.manifest.GridSpec.bin_of`):

* per bin and channel the last value by time wins; of two at the same time, the one that arrived last;
* a bin closes when the largest time seen of its device reaches its end and ``allowed_lateness`` more; a sample of a
  closed bin is late: counted and dropped. Which times are believed, and when a device starts anew because all of its
  samples are late, stands in :mod:`rarefault.runtime.inference.grid.clocks`;
* a counter (a channel that only increases, such as an energy meter) becomes its increase per bin since its last value;
  where it did not increase, the interval is invalid and the value missing;
* an empty cell repeats the channel's last value for ``max_hold``, then it is missing (NaN);
* a sample in which a value is infinite ends it: from its bin on it is missing, until there is another one;
* where ``hold`` is ``until death``, an empty cell repeats the last value until that ends, also across a gap; only the
  increases of counters end after ``max_hold``. A number that means no value (minus infinite) ends it as well then;
  elsewhere it is as if it were not there;
* empty bins between two occupied ones are emitted when the later one closes; occupied bins further apart than
  ``max_gap`` start a new segment, into which nothing is held or carried. While a value holds until it ends, it takes
  ``MOST_HELD`` bins for that, and the value is held all the same.
"""

from rarefault.runtime.inference.grid.bin_filler import Bins
from rarefault.runtime.inference.grid.clock_walk import Restart
from rarefault.runtime.inference.grid.clocks import Clocks
from rarefault.runtime.inference.grid.grid import Grid

__all__ = ["Bins", "Clocks", "Grid", "Restart"]
