"""Which inputs the grid derives from the channels: chosen from the training blocks, or named by the configuration.

An input that tells nothing new costs time and invites chance, so each rule wants to see in the training blocks what its
statistic can tell (decision 0032).
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64, begins
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.grid import Bins, Grid
from rarefault.runtime.inference.manifest import OF_READINGS, STATISTICS, Derived, GridSpec, Statistic, check_derived
from rarefault.train.dataset.units import MOST_PAIRED
from rarefault.train.history import History

#: Distinct values of a channel from which on it is no state and no set-point.
MANY_VALUES = 20
#: A value that comes so many times more is a long run, and how many runs as long as the longest chance may make.
RUN, BY_CHANCE = 3, 0.01
#: Equal values are rare where this share of the values is followed by an equal one at most, or where long runs begin
#: with this share of the bins at most.
RARELY_EQUAL, RARE_RUNS = 0.05, 0.002
#: Least share of the bins in which a value is held.
HELD = 0.1
#: Least share of the bins with two samples or more, and of those in which samples differ.
SEVERAL = 0.5
#: Least standard deviation of the samples in a bin, as a share of their mean number.
UNEVEN = 0.25
#: Least number of devices, and least distance between their levels, in standard deviations within a device.
DEVICES, APART = 3, 1.0
#: Samples that are looked at together; a group of devices has no more, or is one device.
_GROUP_SAMPLES = 200_000
#: What is looked at.
_LOOKED_AT: tuple[Statistic, ...] = ("still", "age", "low", "high", "count")


class GridConfig(GridSpec, frozen=True, kw_only=True):
    """``[grid]``: the time grid, which turns irregular samples into bins of a fixed width. All times are in seconds."""

    derived: Literal["auto", "none"] | tuple[str, ...] = "auto"
    """What the model also reads of each bin, as ``channel~statistic``; the channel may be a pattern, such as
    ``["flow~still", "*~deviation"]``. Statistics: ``still`` (for how many bins the values have been equal), ``age``
    (bins since the last sample), ``spread``, ``low``, ``high``, ``count`` (of the samples within the bin), and
    ``deviation`` (the value minus the device's own recent normal). ``auto`` chooses from the training blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.derived if isinstance(self.derived, tuple) else ():
            channel, mark, statistic = name.rpartition("~")
            if not (channel and mark and statistic in STATISTICS):
                raise ValueError(
                    f"derived: {name!r} is not channel~statistic; the statistics are {', '.join(STATISTICS)}"
                )

    @property
    def chosen(self) -> tuple[Derived, ...]:
        """The derived inputs; none before ``auto`` and patterns are resolved."""
        if not isinstance(self.derived, tuple):
            return ()
        return tuple(_parsed(name) for name in self.derived)

    def with_chosen(self, derived: Sequence[Derived]) -> "GridConfig":
        """The same with these derived inputs."""
        return msgspec.structs.replace(self, derived=tuple(each.name for each in derived))

    def spec(self) -> GridSpec:
        """The grid alone, as the manifest has it."""
        return GridSpec(**{name: getattr(self, name) for name in GridSpec.__struct_fields__})


def _parsed(name: str) -> Derived:
    """What a name stands for; its statistic is one."""
    channel, _, statistic = name.rpartition("~")
    return Derived(channel, next(each for each in STATISTICS if each == statistic))


def choose_derived(config: GridConfig, train: History, units: Int64) -> tuple[Derived, ...]:
    """The derived inputs, in order of their channels.

    Args:
        config: names them, or leaves it to the rules.
        train: the training blocks.
        units: channels of each unit, [U, M]; what is derived at one is derived at all. Where a unit would then have
            more inputs than are compared pair by pair, the rules derive nothing of its channels.

    Raises:
        HistoryError: a name fits no channel, or no channel that it can be derived of.
    """
    if config.derived == "none":
        return ()
    wanted = _found(config, train) if config.derived == "auto" else _named(config.derived, train)
    alike = {
        (channels, statistic)
        for channels in map(tuple, units.T.tolist())
        for statistic in STATISTICS
        if any((channel, statistic) in wanted for channel in channels)
    }
    of_units: Wanted = {(channel, statistic) for channels, statistic in alike for channel in channels}
    # The differences of the pairs of a unit's channels are worth more, and there are none of too many inputs.
    size = units.shape[1]
    too_many = config.derived == "auto" and size <= MOST_PAIRED < size + len(alike)
    wanted = wanted - of_units if too_many else wanted | of_units
    order = sorted(wanted, key=lambda each: (each[0], STATISTICS.index(each[1])))
    derived = tuple(Derived(train.channels[channel], statistic) for channel, statistic in order)
    try:
        check_derived(derived, train.channels, train.counters)
    except ValueError as error:
        raise HistoryError(f"grid.derived: {error}") from None
    return derived


def derived_note(derived: Sequence[Derived]) -> list[str]:
    """A note of what is derived; none where nothing is."""
    by_statistic = {s: [each.channel for each in derived if each.statistic == s] for s in STATISTICS}
    texts = [f"{statistic} of {', '.join(channels)}" for statistic, channels in by_statistic.items() if channels]
    return [f"derived inputs beside the channels (grid.derived): {'; '.join(texts)}"] if texts else []


Wanted = set[tuple[int, Statistic]]


def _named(names: Sequence[str], train: History) -> Wanted:
    """Those that a configuration names."""
    wanted: Wanted = set()
    for name in names:
        each = _parsed(name)
        exact = [c for c, channel in enumerate(train.channels) if channel == each.channel]
        # A pattern leaves out the counters that the statistic is not for; one that is named is refused later.
        of_all = train.channels if each.statistic not in OF_READINGS else set(train.channels) - set(train.counters)
        fits = [channel in of_all and fnmatchcase(channel, each.channel) for channel in train.channels]
        fitting = exact or np.flatnonzero(fits).tolist()
        if not fitting:
            raise HistoryError(f"grid.derived: {name!r} fits no channel; there are {', '.join(train.channels[:10])}")
        wanted |= {(c, each.statistic) for c in fitting}
    return wanted


def _found(spec: GridSpec, train: History) -> Wanted:
    """Those that carry information in the training blocks."""
    survey = _Survey(len(train.channels))
    for group in _groups(train):
        survey.add(spec, group)
    return survey.wanted(train.counter_mask, np.array([len(np.unique(column)) for column in _values(train)]))


def _groups(train: History) -> list[History]:
    """The samples of some devices at a time."""
    counts = np.bincount(train.device, minlength=len(train.devices))
    group = np.cumsum(counts) // _GROUP_SAMPLES
    of_sample = group[train.device]
    return [train.select(of_sample == number) for number in np.unique(of_sample)]


def _values(train: History) -> list[Float64]:
    """Of each channel the first reported values, enough to tell a state from a reading."""
    return [column[~np.isnan(column)][:_GROUP_SAMPLES] for column in train.values.T]


class _Survey:
    """What is counted over the bins of the training blocks, for each channel.

    Args:
        n_channels: C.

    Attributes:
        known: bins with a value, [C].
        own: bins with a sample, [C].
        firsts, seconds, runs: runs of equal values, those of two bins or more, and long ones, [C].
        longest: bins of the longest run after its first, [C].
        several, differing: bins with two samples or more, and with different ones, [C].
        samples, squares: number of samples, and sum of its squares over bins, [C].
        levels, variances: mean and variance of each device, [D, C] in parts.
        together: fingerprints of the numbers of samples; equal for channels that are always sampled together, [C].
    """

    def __init__(self, n_channels: int) -> None:
        self.n_channels = n_channels
        self.known, self.own, self.firsts, self.seconds, self.runs = np.zeros((5, n_channels))
        self.longest, self.several, self.differing, self.samples, self.squares = np.zeros((5, n_channels))
        self.levels: list[Float64] = []
        self.variances: list[Float64] = []
        self.together: list[list[int]] = [[] for _ in range(n_channels)]

    def add(self, spec: GridSpec, part: History) -> None:
        """Count the bins of some devices."""
        columns = [(c, s) for s in _LOOKED_AT for c in range(self.n_channels)]
        bins = Grid(spec, self.n_channels, part.counter_mask, columns).push(part.device, part.time_ms, part.values)
        if not len(bins):
            return
        value, still, age, low, high, count = np.split(bins.values, 1 + len(_LOOKED_AT), axis=1)
        known = ~np.isnan(value)
        own = known & (age == 0)
        self.known += known.sum(axis=0)
        self.own += own.sum(axis=0)
        self.firsts += (own & (still == 0)).sum(axis=0)
        before = _before(still, bins)
        self.seconds += (own & (before == 0) & (still > 0)).sum(axis=0)
        self.runs += (own & (before < RUN) & (still >= RUN)).sum(axis=0)
        self.longest = np.maximum(self.longest, np.where(own, still, 0).max(axis=0))
        self.several += (count >= 2).sum(axis=0)
        self.differing += (high > low).sum(axis=0)
        self.samples += count.sum(axis=0, dtype=np.float64)
        self.squares += (count.astype(np.float64) ** 2 * (count > 0)).sum(axis=0)
        for c, found in enumerate(self.together):
            found.append(hash(count[:, c].tobytes()))
        self._add_levels(bins, value, known)

    def _add_levels(self, bins: Bins, value: Float32, known: Bool) -> None:
        """Mean and variance of each device."""
        start = np.flatnonzero(begins(bins.device))
        number = np.add.reduceat(known, start, axis=0, dtype=np.float64)
        whole = np.where(known, value, 0).astype(np.float64)
        some = np.where(number > 0, number, np.nan)
        mean = np.add.reduceat(whole, start, axis=0) / some
        owner = np.cumsum(begins(bins.device)) - 1
        away = np.where(known, value - mean[owner], 0.0) ** 2
        self.levels.append(mean)
        self.variances.append(np.add.reduceat(away, start, axis=0) / some)

    def wanted(self, counters: Bool, distinct: Int64) -> Wanted:
        """The inputs that the rules choose.

        Args:
            counters: which channels are counters, [C].
            distinct: number of distinct values, [C].
        """
        own = np.maximum(self.own, 1)
        equal = self.seconds / np.maximum(self.firsts, 1)
        expected = self.own * equal ** np.maximum(self.longest, 1)  # runs as long as the longest, by chance
        still = (distinct >= MANY_VALUES) & (self.longest >= RUN) & (expected < BY_CHANCE)
        still &= (equal < RARELY_EQUAL) | (self.runs / own < RARE_RUNS)
        age = (self.known - self.own) / np.maximum(self.known, 1) >= HELD
        extent = (self.several / own >= SEVERAL) & (self.differing / own >= SEVERAL)
        rules: dict[Statistic, Bool] = {
            "still": still,
            "spread": extent,
            "low": extent,
            "high": extent,
            "deviation": self._apart(),
        }
        wanted: Wanted = {(c, s) for s, found in rules.items() for c in np.flatnonzero(found & ~counters).tolist()}
        wanted |= {(c, "age") for c in np.flatnonzero(age).tolist()}
        return wanted | {(c, "count") for c in self._uneven(self.several / own >= SEVERAL)}

    def _uneven(self, several: Bool) -> list[int]:
        """Channels whose number of samples varies; of several that are always sampled together the first."""
        mean = self.samples / np.maximum(self.own, 1)
        deviation = np.sqrt(np.maximum(self.squares / np.maximum(self.own, 1) - mean**2, 0))
        found: dict[tuple[int, ...], int] = {}
        for c in np.flatnonzero(several & (deviation > UNEVEN * mean)).tolist():
            found.setdefault(tuple(self.together[c]), c)
        return list(found.values())

    def _apart(self) -> Bool:
        """Channels whose level differs more between devices than within one."""
        if not self.levels:
            return np.zeros(self.n_channels, bool)
        level, variance = np.concatenate(self.levels), np.concatenate(self.variances)
        enough = (~np.isnan(level)).sum(axis=0) >= DEVICES
        level, variance = np.where(enough, level, 0.0), np.where(enough, variance, 0.0)
        between, within = np.nanstd(level, axis=0), np.sqrt(np.nanmean(variance, axis=0))
        found: Bool = enough & (within > 0) & (between > APART * within)
        return found


def _before(still: Float32, bins: Bins) -> Float32:
    """``still`` of the bin before, NaN where a segment or a device begins."""
    before = np.concatenate((np.full_like(still[:1], np.nan), still[:-1]))
    before[bins.reset | begins(bins.device)] = np.nan
    return before
