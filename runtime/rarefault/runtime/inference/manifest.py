"""The manifest: all that is needed to use a model; JSON in the ONNX file's metadata under the key ``rarefault``."""

import math
import sys
import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.telemetry.channels import ChannelSpec

#: Version of the manifest's form. A reader refuses any other.
MANIFEST_VERSION: Literal[2] = 2
#: Key of the manifest in the ONNX file's ``metadata_props``.
METADATA_KEY = "rarefault"
#: The class that is no fault; always the first.
NORMAL = "normal"
#: The alarm state where something seems to be there that training has not seen.
UNKNOWN = "unknown"
#: The alarm state of a device without a whole window of recent telemetry.
NO_DATA = "no data"

#: One whole number, or an array of them.
Integers = TypeVar("Integers", int, NDArray[np.int64])
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Index = Annotated[int, msgspec.Meta(ge=0)]
ClassIndex = Annotated[int, msgspec.Meta(ge=1)]
Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]


#: Bins that are filled at once with values that hold until they end: those of a longer stretch are left out.
MOST_HELD = 2000


class GridSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[grid]``: the time grid, which turns irregular samples into bins of a fixed width. All times are in seconds."""

    period_s: Annotated[float, msgspec.Meta(ge=0.001)] = 900.0
    """Width of a bin, seconds. A whole number of milliseconds."""
    offset_s: NotNegative = 0.0
    """Bins begin at multiples of ``period_s`` since the epoch, plus this, seconds. Set it for devices that report at
    those multiples, a little early or late: otherwise a second decides which bin a sample falls into."""
    max_hold_s: NotNegative = 2700.0
    """How long an empty cell repeats the last value before it counts as missing (NaN), seconds."""
    hold: Literal["max_hold_s", "until death"] = "max_hold_s"
    """How long a value is held. ``max_hold_s``: no longer than that. ``until death``: until the device says that the
    value is over, or dies, as for Sparkplug and others that report by exception. Counters are held for
    ``max_hold_s``."""
    allowed_lateness_s: NotNegative = 0.0
    """How long after its end a bin stays open for samples that arrive out of order, seconds. Counted in the device's
    own time."""
    max_gap_s: Positive = 7200.0
    """A longer stretch without samples resets the device, seconds: no value is held, the window is empty, the model's
    state is zero. A sample further ahead than this is used only if the next one agrees."""
    restart_after: Annotated[int, msgspec.Meta(ge=3, le=1_000_000)] = 20
    """Number of late samples in a row after which a device starts again at its present time, because its clock was far
    ahead before. They must lie where no window was judged. Three are enough if they span ``max_gap_s``."""
    baseline_s: Positive = 2_592_000.0
    """Time constant of a device's own recent normal, which the statistic ``deviation`` is the distance from, seconds.
    Values older than this count for little."""

    def __post_init__(self) -> None:
        for name in ("period_s", "offset_s", "max_hold_s", "allowed_lateness_s", "max_gap_s", "baseline_s"):
            value = getattr(self, name)
            if not math.isfinite(value) or value > 1e9:
                raise ValueError(f"{name} must be finite and at most 1e9 s, got {value}")
        for name in ("period_s", "offset_s"):
            value = getattr(self, name)
            if abs(value * 1000 - round(value * 1000)) > 1e-6:
                raise ValueError(f"{name} must be a whole number of milliseconds, got {value}")
        if self.offset_s >= self.period_s:
            raise ValueError(f"offset_s ({self.offset_s:g}) must be below period_s ({self.period_s:g})")
        if self.max_gap_s < self.period_s:
            raise ValueError(f"max_gap_s ({self.max_gap_s:g}) must be at least period_s ({self.period_s:g})")
        if self.baseline_s < self.period_s:
            raise ValueError(f"baseline_s ({self.baseline_s:g}) must be at least period_s ({self.period_s:g})")

    @property
    def period_ms(self) -> int:
        """Width of a bin in milliseconds."""
        return round(self.period_s * 1000)

    @property
    def _lead_ms(self) -> int:
        """How much earlier than a multiple of the period its bin begins: so no time has a negative bin."""
        return -round(self.offset_s * 1000) % self.period_ms

    def bin_of(self, time_ms: Integers) -> Integers:
        """Number of the bin that a time falls into; the end of a bin is no part of it.

        >>> grid = GridSpec(period_s=60)
        >>> grid.bin_of(59_999), grid.bin_of(60_000), grid.end_ms(0)
        (0, 1, 60000)
        >>> grid.bin_of(np.array([0, 119_999, 120_000]))
        array([0, 1, 2])

        Args:
            time_ms: milliseconds since the epoch, of any shape.
        """
        return (time_ms + self._lead_ms) // self.period_ms

    def end_ms(self, index: Integers) -> Integers:
        """End of a bin, milliseconds since the epoch."""
        return (index + 1) * self.period_ms - self._lead_ms

    @property
    def lateness_ms(self) -> int:
        """Allowed lateness in milliseconds."""
        return round(self.allowed_lateness_s * 1000)

    @property
    def gap_ms(self) -> int:
        """Longest stretch without a sample that does not reset the device, milliseconds."""
        return round(self.max_gap_s * 1000)

    @property
    def hold_bins(self) -> int:
        """Number of bins after its own in which a value is still held."""
        return round(self.max_hold_s * 1000) // self.period_ms

    @property
    def ends(self) -> bool:
        """Whether values hold until they end."""
        return self.hold == "until death"

    @property
    def gap_bins(self) -> int:
        """Largest distance in bins between two occupied bins of one segment."""
        return self.gap_ms // self.period_ms

    @property
    def most_bins(self) -> int:
        """Largest distance in bins between two occupied bins of one segment, while a value of the device holds."""
        return max(self.gap_bins, MOST_HELD) if self.ends else self.gap_bins


#: What can be derived of a channel for each bin; see :mod:`rarefault.runtime.inference.grid.derived`.
Statistic = Literal["still", "age", "spread", "low", "high", "count", "deviation"]
#: All of them, in the order in which the trainer makes them.
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
#: Those that are taken of a counter's readings, and so of no use.
OF_READINGS: frozenset[Statistic] = frozenset({"spread", "low", "high"})


class Derived(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """An input of the model that the grid derives from a channel."""

    channel: str
    """Name of the channel."""
    statistic: Statistic
    """What is derived. ``still``: for how many bins the values have been equal. ``age``: bins since the last sample.
    ``spread``, ``low``, ``high``, ``count``: of the samples within the bin. ``deviation``: the value minus the device's
    own recent normal."""

    @property
    def name(self) -> str:
        """Name of the input.

        >>> Derived("flow", "still").name
        'flow~still'
        """
        return f"{self.channel}~{self.statistic}"


class WindowSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[window]``: the stretch of time that one verdict covers. In bins."""

    length: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 16
    """Bins in a window."""
    stride: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2
    """Bins between the ends of two windows. A window is due where ``(end_bin + 1 + phase) % stride == 0``."""
    spread: bool = False
    """Give each device its own phase (the CRC-32 of its name modulo the stride), so that the windows of a fleet do not
    all fall due in the same bin. If false, the phase is 0."""

    def phase(self, device: str) -> int:
        """The phase of a device."""
        return zlib.crc32(device.encode()) % self.stride if self.spread else 0


def coverage_key(coverage: float) -> str:
    """What conformal thresholds of a coverage are kept under: its percentage, such as ``"95"`` or ``"97.5"``."""
    return f"{coverage * 100:.6g}"


class ExpertSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One expert, and how much its evidence counts."""

    name: Literal["network", "trees"]
    """What it is."""
    weight: NotNegative = 1.0
    """Factor of its evidence for the device's classes. Evidence is its log-probability less that of the prior."""
    unit_weight: NotNegative = 1.0
    """Factor of its evidence for the faults that are looked for at units: of its logits, less those of their prior."""


class UnitsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The like units of a device, such as the pumps of a station, and the faults that are looked for at each."""

    names: tuple[str, ...]
    """Names of the U units, such as ``c1``."""
    channels: tuple[tuple[Index, ...], ...]
    """Columns of the window that each unit has, [U, M]; like ones stand at the same place."""
    faults: tuple[ClassIndex, ...]
    """Indices of the J faults that are looked for at units."""
    rarest_first: tuple[ClassIndex, ...]
    """Indices of all faults, in the order in which they give a window its label where several are active, [K - 1]."""
    prior: tuple[Annotated[float, msgspec.Meta(gt=0, lt=1)], ...]
    """Share of a unit's windows in the training history that have each of these faults, [J]."""

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.channels):
            raise ValueError(f"units: {len(self.names)} names for the channels of {len(self.channels)} units")
        if len({len(own) for own in self.channels}) > 1:
            raise ValueError("units.channels must have as many columns for each unit")
        if not self.faults or len(self.faults) != len(self.prior):
            raise ValueError(f"units.prior must have one value for each of the {len(self.faults)} units.faults")
        if len(set(self.faults)) != len(self.faults) or not set(self.faults) <= set(self.rarest_first):
            raise ValueError("units.faults must be different faults of units.rarest_first")


class FilterSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the windows before a window count; see :mod:`rarefault.runtime.inference.decision.belief`."""

    weight: Positive
    """Factor of a window's evidence in the belief that is carried on."""
    renewal: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """Probability that a device's class is drawn anew from one window to the next."""
    belief_power: NotNegative
    """Factor of the belief in the result."""
    window_power: NotNegative
    """Factor of the window's own evidence in the result."""


class DistanceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What distances from all known classes mean. The network measures one for each window."""

    quantiles: tuple[NotNegative, ...]
    """Distances of held-out windows of the known classes, from the smallest to the largest: at evenly spaced shares of
    them, each event counting as one. They tell the familiarity of a distance."""
    far: NotNegative | None = None
    """A window that is farther than this fits no class. ``null``: there is no such distance."""

    def __post_init__(self) -> None:
        if len(self.quantiles) < 2 or list(self.quantiles) != sorted(self.quantiles):
            raise ValueError("distance.quantiles must be two at least, in ascending order")


class DecisionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From opinions to a verdict and an alarm; the rule is in :mod:`rarefault.runtime.inference.decision`."""

    prior: tuple[Positive, ...]
    """Class shares in the training history, [K]. All opinions hold for these."""
    thresholds: tuple[Positive, ...]
    """Threshold of each class, [K]. The verdict is the class with the largest ``posterior / threshold``."""
    experts: tuple[ExpertSpec, ...]
    """The E experts, in the order of the model's output."""
    units: UnitsSpec | None = None
    """What is looked for at units; ``null`` where nothing is."""
    filter: FilterSpec | None = None
    """How the windows before count; ``null`` where each window is judged by itself."""
    temperature: Positive = 1.0
    """The evidence for each class is divided by this."""
    coverage: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Share of an event's windows whose prediction set must contain the event's class. 0: no prediction sets."""
    conformal_thresholds: tuple[Share, ...] = ()
    """Conformal threshold of each class, [K]: a class is in the prediction set if its posterior is at least this. 0 for
    a class that always is. Empty if ``coverage`` is 0."""
    thresholds_by_coverage: dict[str, tuple[Share, ...]] = {}
    """Conformal thresholds at other coverages, by percentage (``"95"``), so that a daemon can choose another
    coverage."""
    distance: DistanceSpec | None = None
    """What the distances from all known classes mean; ``null`` where the model has no network."""
    unknown_windows: Annotated[int, msgspec.Meta(ge=0)] = 0
    """This many windows in a row that fit no class make the alarm state ``unknown``. 0: never."""
    muted: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    """Indices of the faults that raise no alarm."""
    raise_threshold: Share = 0.5
    """An alarm is raised when its fault's score is at least this for ``on_delay_s``."""
    clear_threshold: Share = 0.3
    """An alarm is cleared when its fault's score is below this for ``off_delay_s``."""
    on_delay_s: NotNegative = 0.0
    """How long a fault must last before its alarm is raised, seconds."""
    off_delay_s: NotNegative = 0.0
    """How long a fault must be gone before its alarm is cleared, seconds."""

    def __post_init__(self) -> None:
        if self.clear_threshold > self.raise_threshold:
            raise ValueError(
                f"clear_threshold ({self.clear_threshold:g}) must not exceed raise_threshold ({self.raise_threshold:g})"
            )
        names = [expert.name for expert in self.experts]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"experts must be one at least, and different from each other, got {names}")
        if self.distance is not None and "network" not in names:
            raise ValueError(f"a distance is measured by the network, but the experts are {names}")

    @property
    def has_far(self) -> bool:
        """Whether windows can be too far from all classes."""
        return self.distance is not None and self.distance.far is not None

    @property
    def tells_unknown(self) -> bool:
        """Whether there is something that tells windows that fit no class."""
        return bool(self.coverage) or self.has_far

    @property
    def opinion_size(self) -> int:
        """Number V of values in the opinion of one expert.

        K, one for each unit and fault that is looked for there, and the distance where the network measures one.

        >>> units = UnitsSpec(names=("a", "b"), channels=((0,), (1,)), faults=(1,), rarest_first=(1,), prior=(0.1,))
        >>> expert = ExpertSpec(name="trees")
        >>> DecisionSpec(prior=(0.8, 0.2), thresholds=(1, 1), experts=(expert,), units=units).opinion_size
        4
        """
        at_units = 0 if self.units is None else len(self.units.names) * len(self.units.faults)
        return len(self.prior) + at_units + (self.distance is not None)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model file says about itself: channels, classes, grid, window, decision.

    >>> manifest = Manifest(
    ...     name="pump",
    ...     channels=("flow", "pressure"),
    ...     classes=("normal", "leak"),
    ...     grid=GridSpec(period_s=60),
    ...     window=WindowSpec(length=16, stride=2),
    ...     state_size=8,
    ...     decision=DecisionSpec(
    ...         prior=(0.9, 0.1), thresholds=(0.5, 0.5), experts=(ExpertSpec(name="trees"), ExpertSpec(name="network"))
    ...     ),
    ... )
    >>> Manifest.from_json(manifest.to_json()) == manifest
    True
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of the model: letters, digits, ``.``, ``_`` and ``-``, at most 64 characters."""
    channels: tuple[str, ...]
    """Names of the C channels, in the order of the model's input; samples have these."""
    classes: tuple[str, ...]
    """Names of the K classes. The first is ``normal``."""
    grid: GridSpec
    """The time grid."""
    window: WindowSpec
    """The window."""
    state_size: Index
    """Size S of the state that the network carries from window to window, per device. 0 where there is none."""
    decision: DecisionSpec
    """How the experts' opinions become verdicts and alarms."""
    counters: tuple[str, ...] = ()
    """Channels that only ever increase, such as an energy meter. The model reads their increase per bin."""
    derived: tuple[Derived, ...] = ()
    """What the grid derives from the channels, in the order of the model's input, which has these after the channels.
    """
    missing: tuple[Finite, ...] = ()
    """Numbers that mean "no value" in any channel, such as -9999. They count as missing."""
    channel_specs: dict[str, ChannelSpec] = {}
    """What the values of channels mean, by name: words, numbers for no value, scale and offset, unit, valid range. Live
    telemetry is read by it as the history was. Absent where nothing is said."""
    precision: Literal["float32", "int8"] = "float32"
    """Precision of the network's weights."""
    training: dict[str, Any] = {}
    """Where the model comes from: time, release, digests of configuration and data, test scores. For people; the daemon
    reads only ``created``, to check its clock."""
    quantisation: dict[str, Any] | None = None
    """int8 only: how much verdicts and alarms changed by quantisation, as measured at export."""
    version: Literal[2] = MANIFEST_VERSION
    """Version of the manifest's format. A reader refuses any other."""

    def __post_init__(self) -> None:
        for what, names in (("channels", self.channels), ("classes", self.classes)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must be different from each other, got {list(names)}")
        if not self.channels:
            raise ValueError("channels must not be empty")
        if len(self.classes) < 2 or self.classes[0] != NORMAL:
            raise ValueError(f"classes must be '{NORMAL}' and at least one fault, got {list(self.classes)}")
        if reserved := {UNKNOWN, NO_DATA} & set(self.classes):
            raise ValueError(f"class name {reserved.pop()!r} is reserved")
        if foreign := set(self.channel_specs) - set(self.channels):
            raise ValueError(f"channel_specs must be of channels, but {sorted(foreign)} are none")
        if missing := set(self.counters) - set(self.channels):
            raise ValueError(f"counters must be channels, but {sorted(missing)} are not")
        check_derived(self.derived, self.channels, self.counters)
        self._check_decision()

    def _check_decision(self) -> None:
        """Whether the decision is for these classes and channels."""
        decision, k = self.decision, len(self.classes)
        for what in ("prior", "thresholds"):
            if len(getattr(decision, what)) != k:
                raise ValueError(f"decision.{what} must have one value per class ({k})")
        if len(decision.conformal_thresholds) != (k if decision.coverage else 0):
            raise ValueError(
                "decision.conformal_thresholds must have one value per class where there is a coverage, else none"
            )
        for key, thresholds in decision.thresholds_by_coverage.items():
            if len(thresholds) != k:
                raise ValueError(f"decision.thresholds_by_coverage of {key} must have one value per class ({k})")
        if any(number >= k for number in decision.muted):
            raise ValueError(f"decision.muted must be numbers of faults, below {k}")
        if (units := decision.units) is None:
            return
        if sorted(units.rarest_first) != list(range(1, k)):
            raise ValueError(f"decision.units.rarest_first must be all faults, 1 to {k - 1}")
        if any(column >= len(self.inputs) for own in units.channels for column in own):
            raise ValueError(f"decision.units.channels must be columns of the window, below {len(self.inputs)}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the I columns of the model's window: the channels, then what is derived from them."""
        return (*self.channels, *(derived.name for derived in self.derived))

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """Columns of the window that each channel gives: its own, and those of what is derived from it, [C]."""
        of_derived = [each.channel for each in self.derived]
        return tuple(
            (c, *(len(self.channels) + i for i, channel in enumerate(of_derived) if channel == name))
            for c, name in enumerate(self.channels)
        )

    def to_json(self) -> str:
        """The manifest as JSON text; without ``channel_specs`` where it is empty, so that earlier releases read it."""
        fields = msgspec.to_builtins(self)
        if not self.channel_specs:
            del fields["channel_specs"]
        return msgspec.json.encode(fields).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read a manifest from JSON.

        Raises:
            msgspec.DecodeError: the text is not JSON.
            msgspec.ValidationError: a field is missing, unknown or impossible.
        """
        return msgspec.json.decode(text, type=cls)


def derived_columns(derived: Sequence[Derived], channels: Sequence[str]) -> tuple[tuple[int, Statistic], ...]:
    """Number of the channel and statistic of each derived input."""
    return tuple((channels.index(each.channel), each.statistic) for each in derived)


def check_derived(derived: Sequence[Derived], channels: Sequence[str], counters: Sequence[str]) -> None:
    """Refuse derived inputs that do not fit the channels.

    Raises:
        ValueError: a channel is unknown, an input is there twice, or a counter's readings would be looked at.
    """
    if unknown := sorted({each.channel for each in derived} - set(channels)):
        raise ValueError(f"derived inputs must be of channels, but {unknown} are not")
    names = [*channels, *(each.name for each in derived)]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"inputs must be different from each other, but {twice} are there twice")
    of_counters = sorted(e.name for e in derived if e.channel in counters and e.statistic in OF_READINGS)
    if of_counters:
        raise ValueError(
            f"{', '.join(of_counters)}: of a counter the model reads the increase per bin, so that "
            f"{', '.join(sorted(OF_READINGS))} of its readings mean nothing; leave them out"
        )
