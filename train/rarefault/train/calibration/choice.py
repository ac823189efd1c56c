"""Which parts of a model are served: the fewest that are as good as all of them.

The parts (:mod:`rarefault.train.model.parts`) are tried one after the other, those that cost a verdict most first. One
goes if the held-out windows do not show that it is worth anything. For what would be left without it, pool weights,
filter and temperature are fitted again, and its log losses are compared with those of all parts together: so what is
lost does not add up. A part goes if

- the log loss is not higher beyond noise (by the lower end of the difference's interval), nor by more than
  ``TOLERANCE`` of it; less than ``NEGLIGIBLE`` is nothing;
- the log loss of no fault, each of its events counted once, is higher beyond noise and by more than ``TOLERANCE``: its
  probability is lower by as much;
- another part is left that judges the same: whole devices, or their units.

Noise is that of a paired bootstrap: windows of a block err together, so blocks are drawn; events where it is about one
fault. Few blocks say nothing: then nothing goes.

Why: decision 0038.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.inference.decision.pool import Pool
from rarefault.runtime.inference.manifest import DecisionSpec, UnitsSpec
from rarefault.train.calibration.cross_fit import HeldOut
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.dataset.split import Split
from rarefault.train.model.parts import AT_DEVICE, AT_UNITS, NETWORK_PARTS, PART_NAMES, ModelPart, expert_of

#: The parts in the order in which they are tried: what costs a verdict, and the memory of a device, most stands first.
BY_COST: tuple[ModelPart, ...] = (
    "network_device",
    "extra_trees",
    "network_units",
    "trees_units",
    "trees_device",
    "filter",
)
#: So much of the log loss may be lost where noise would allow for more, and so much log loss of a fault.
TOLERANCE = 0.01
#: A difference that means nothing: the probability of what is true, lower by 0.02 %.
NEGLIGIBLE = 2e-4
#: A network of devices that has less of a say than this on the validation blocks is not trained for cross-fitting.
LEAST_SAY = 0.1
#: With fewer held-out blocks, nothing is said.
LEAST_BLOCKS = 8
#: Draws of the bootstrap, their seed, and the ends of the interval.
DRAWS, SEED, ENDS = 1000, 0, (0.05, 0.95)


class PartTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one part."""

    dropped: bool
    """Whether it was left out."""
    beside: tuple[ModelPart, ...]
    """The parts that were left without it."""
    log_loss: float | None = None
    """Held-out log loss of these. Null where it was not tried, as no other part judges the same."""
    difference: float | None = None
    """The same less the log loss with all parts."""
    interval: tuple[float, float] | None = None
    """90 % interval of the difference, by a paired bootstrap over blocks."""
    worse: tuple[str, ...] = ()
    """Faults whose own log loss, each event counted once, is higher without it, by more than 0.01 and beyond noise."""
    text: str
    """The same as a clause."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the model that are served, and why these."""

    kept: tuple[ModelPart, ...]
    """Parts that are served."""
    dropped: tuple[ModelPart, ...]
    """Parts that were left out because the others are as good without them."""
    blocks: int
    """Held-out blocks that this rests on."""
    all_log_loss: float
    """Held-out log loss with all parts, but for a network of devices that cross-fitting did without."""
    log_loss: float
    """Held-out log loss with those that are kept."""
    tried: dict[ModelPart, PartTrial]
    """What was found of each part, in the order in which they were tried. Empty where nothing was to be chosen."""
    text: str
    """The same as a sentence."""


@dataclass(frozen=True)
class Choice:
    """The parts to serve, and the decision so far that was fitted for them.

    Attributes:
        held: opinions of these parts on the held-out windows.
        spec: see :meth:`rarefault.train.calibration.cross_fit.HeldOut.weighed`.
        parts: which they are, and why.
    """

    held: HeldOut
    spec: DecisionSpec
    parts: Parts

    def served(self, config: TrainConfig) -> TrainConfig:
        """The configuration that trains these parts alone.

        What was there and had no tree, for lack of events, may have some with more of the history: it stays.
        """
        return config.with_parts(
            [
                part
                for part in config.wanted
                if part not in self.parts.dropped and (part == "filter" or expert_of(part) in self.held.names)
            ]
        )


def choose_parts(
    held: HeldOut,
    present: Sequence[ModelPart],
    split: Split,
    prior: tuple[float, ...],
    units: UnitsSpec | None,
    *,
    filtered: bool,
    free: bool = True,
    spared: PartTrial | None = None,
) -> Choice:
    """The fewest parts that are as good as all of them.

    Args:
        held: held-out windows and opinions of all parts.
        present: parts that the experts have.
        split: gives the blocks.
        prior: class shares, [K].
        units: what is looked for at units.
        filtered: whether a filter may be fitted.
        free: whether parts may be left out.
        spared: why there is no network of devices any more, see :func:`spare`; None where that is not so.
    """
    tried: dict[ModelPart, PartTrial] = {} if spared is None else {"network_device": spared}
    spec = held.weighed(prior, units, filtered=filtered)
    whole = _Whole(held, held.losses(spec), split)
    so_far = _SoFar(held, spec, (*present, *(("filter",) if spec.filter is not None else ())), whole.losses.mean())
    if not free or whole.blocks < LEAST_BLOCKS:
        few = f"too little to tell ({whole.blocks} held-out blocks, {LEAST_BLOCKS} are needed)"
        why = few if free else "training.parts names them"
        return Choice(held, spec, _described(so_far, whole, tried, why))
    # Those that were tried beside others that have gone since are tried again: what one of them spoilt may be made up
    # for by a part that is not needed now.
    while (part := _next(so_far, tried)) is not None:
        left = so_far.without(part)
        if (last := _is_last(part, left, prior, units)) is not None:
            tried[part] = PartTrial(dropped=False, beside=left, text=f"needed: no other part judges {last}")
            continue
        fewer = with_parts(held, left, prior, units)
        # Of fewer parts a filter may be worth something though it is not of all.
        spec = fewer.weighed(prior, units, filtered=filtered and part != "filter" and "filter" not in _gone(tried))
        losses = fewer.losses(spec)
        tried[part] = trial = whole.compared(losses, left)
        if trial.dropped:
            for other in set(so_far.parts) - {part, *left}:
                tried[other] = msgspec.structs.replace(trial, text=f"goes with {part}")
            kept = tuple(p for p in left if p != "filter")
            so_far = _SoFar(fewer, spec, (*kept, *(("filter",) if spec.filter is not None else ())), losses.mean())
    return Choice(so_far.held, so_far.spec, _described(so_far, whole, tried, ""))


def spare(
    held: HeldOut, present: Sequence[ModelPart], prior: tuple[float, ...], units: UnitsSpec | None
) -> PartTrial | None:
    """Whether cross-fitting can do without the network of devices, the part that takes longest to train for nothing.

    Where the trees judge devices and the network looks at units, the pool hardly hears its network of devices. The
    validation blocks show that before further ones are trained: by the factor that the pool gives it.

    Args:
        held: the validation windows and the opinions on them.
        present: parts of the model that gave them.
        prior: class shares, [K].
        units: what is looked for at units.

    Returns:
        None where it is heard, or is needed.
    """
    if not {"network_device", "network_units", "trees_device"} <= set(present):
        return None
    weighed = held.weighed(prior, units, filtered=False).experts
    weight = next(expert.weight for expert in weighed if expert.name == "network")
    if weight >= LEAST_SAY:
        return None
    left = tuple(part for part in present if part != "network_device")
    text = f"its weight in the pool was {weight:.2f} on the validation blocks, so cross-fitting did without it"
    return PartTrial(dropped=True, beside=left, text=text)


def with_parts(held: HeldOut, parts: Sequence[ModelPart], prior: tuple[float, ...], units: UnitsSpec | None) -> HeldOut:
    """Opinions of some parts alone: the others have no evidence, and an expert without any part leaves."""
    pool, k = Pool(prior, units), len(prior)
    opinions, names = [], []
    apart = held.apart
    if apart is not None and apart.shape[1] == len(NETWORK_PARTS):
        apart = apart[:, [part in parts for part in NETWORK_PARTS]] if set(NETWORK_PARTS) & set(parts) else None
    for e, name in enumerate(held.names):
        of_device, of_units = (f"{name}_{where}" in parts for where in ("device", "units"))
        if not (of_device or of_units):
            continue
        opinion = held.opinions[:, e].copy()
        if not of_device:
            opinion[:, :k] = pool.log_prior
        elif name == "trees" and "extra_trees" not in parts:
            opinion[:, :k] = held.of_boosted()
        if not of_units:
            opinion[:, k : pool.width] = np.tile(pool.unit_logit, 0 if units is None else len(units.names))
        if name == "network" and apart is not None:
            opinion[:, -1] = apart.max(axis=1)
        opinions.append(opinion)
        names.append(name)
    boosted = held.boosted if {"trees_device", "extra_trees"} <= set(parts) else None
    return HeldOut(held.windows, np.stack(opinions, axis=1), tuple(names), boosted, apart)


def block_of(windows: HeldOutWindows, split: Split) -> Int64:
    """Number of the block that each window lies in, [W]."""
    own: dict[str, list[int]] = {}
    for at, block in enumerate(split.blocks):
        own.setdefault(block.device, []).append(at)
    found = np.full(len(windows.device), -1)
    for slot in np.unique(windows.device).tolist():
        blocks = np.array(own[windows.history.devices[slot]])
        starts = [split.blocks[at].start_ms for at in blocks]
        rows = windows.device == slot
        # A window ends with the end of its last bin, which may be the start of the next block.
        found[rows] = blocks[np.searchsorted(starts, windows.end_ms[rows] - 1, "right") - 1]
    return found


def interval(total: Float64, count: Float64) -> tuple[float, float]:
    """Interval of a mean, by a bootstrap over groups: their sums and sizes, [G] each."""
    rng, n = np.random.default_rng(SEED), len(total)
    means = []
    for _ in range(DRAWS):
        drawn = rng.integers(n, size=n)
        means.append(total[drawn].sum() / count[drawn].sum())
    low, high = np.quantile(means, ENDS)
    return float(low), float(high)


@dataclass(frozen=True)
class _SoFar:
    """What is left after some parts went."""

    held: HeldOut
    spec: DecisionSpec
    parts: tuple[ModelPart, ...]
    log_loss: float

    def without(self, part: ModelPart) -> tuple[ModelPart, ...]:
        """The parts that are left without one of them, and what belongs to it."""
        return tuple(p for p in self.parts if p != part and (part, p) != ("trees_device", "extra_trees"))


def _gone(tried: Mapping[ModelPart, PartTrial]) -> tuple[ModelPart, ...]:
    return tuple(part for part, trial in tried.items() if trial.dropped)


def _next(so_far: _SoFar, tried: Mapping[ModelPart, PartTrial]) -> ModelPart | None:
    """The first part that has not been tried beside those that are left now; None where all have."""
    for part in BY_COST:
        if part in so_far.parts and (part not in tried or tried[part].beside != so_far.without(part)):
            return part
    return None


@dataclass
class _Whole:
    """All parts together, which fewer are compared with.

    Attributes:
        held: their opinions.
        losses: of each window with a label, [W'].
        split: gives the blocks.
        blocks: number of those with a window with a label.
    """

    held: HeldOut
    losses: Float64
    split: Split
    blocks: int = field(init=False)

    def __post_init__(self) -> None:
        windows = self.held.windows
        known = windows.label >= 0
        self._label = windows.label[known]
        self._event = event_of(windows.device, windows.fresh, windows.label)[known]
        _, self._block = np.unique(block_of(windows, self.split)[known], return_inverse=True)
        self.blocks = int(self._block.max()) + 1

    def compared(self, losses: Float64, left: tuple[ModelPart, ...]) -> PartTrial:
        """What fewer parts lose.

        Args:
            losses: of the same windows, [W'].
            left: the parts.
        """
        difference, before = losses - self.losses, float(self.losses.mean())
        size = np.bincount(self._block).astype(np.float64)
        low, high = interval(np.bincount(self._block, difference).astype(np.float64), size)
        rise = float(difference.mean())
        classes = self.held.windows.history.classes
        worse = tuple(classes[fault] for fault in self._worse(difference))
        reasons = []
        if rise > NEGLIGIBLE:
            reasons += ["beyond noise"] if low > 0 else []
            reasons += [f"by more than {TOLERANCE:.0%}"] if rise > TOLERANCE * before else []
        reasons += [f"for {', '.join(worse)}"] if worse else []
        verdict = f"worse without it {' and '.join(reasons)}" if reasons else "as good without it"
        return PartTrial(
            dropped=not reasons,
            beside=left,
            log_loss=float(losses.mean()),
            difference=rise,
            interval=(low, high),
            worse=worse,
            text=f"{verdict}: held-out log loss {before + rise:.3g}, {before:.3g} with all parts, difference "
            f"{rise:+.2g}, 90 % interval {low:+.2g} to {high:+.2g}",
        )

    def _worse(self, difference: Float64) -> list[int]:
        """Faults whose log loss is higher, each event counted once."""
        found = []
        for fault in np.unique(self._label[self._label > 0]).tolist():
            own = self._label == fault
            _, event = np.unique(self._event[own], return_inverse=True)
            size = np.bincount(event)
            rise = np.bincount(event, difference[own]) / size
            low, _ = interval(rise, np.ones_like(rise))
            if low > 0 and rise.mean() > TOLERANCE:
                found.append(fault)
        return found


def _is_last(
    part: ModelPart, left: Sequence[ModelPart], prior: tuple[float, ...], units: UnitsSpec | None
) -> str | None:
    """What nobody would judge any more without a part; None where somebody would."""
    at_units = () if units is None else units.faults
    if part in AT_DEVICE and len(at_units) < len(prior) - 1 and not set(AT_DEVICE) & set(left):
        return "whole devices"
    return "units" if part in AT_UNITS and not set(AT_UNITS) & set(left) else None


def _described(so_far: _SoFar, whole: _Whole, tried: dict[ModelPart, PartTrial], why: str) -> Parts:
    """The choice with its sentence; ``why`` nothing was chosen, where it was not."""
    dropped = _gone(tried)
    served = f"Served: {', '.join(PART_NAMES[part] for part in so_far.parts)}"
    if dropped:
        gone = "; ".join(f"{PART_NAMES[part]} ({tried[part].text})" for part in dropped)
        text = f"{served}. Left out: {gone}; {whole.blocks} blocks."
    elif why:
        text = f"{served}. Nothing was left out: {why}."
    else:
        kept = "; ".join(f"{PART_NAMES[part]} ({trial.text})" for part, trial in tried.items())
        text = f"{served}. Nothing could be left out: {kept}; {whole.blocks} blocks."
    before = float(whole.losses.mean())
    return Parts(
        kept=so_far.parts,
        dropped=dropped,
        blocks=whole.blocks,
        all_log_loss=before,
        log_loss=float(so_far.log_loss),
        tried=tried,
        text=text,
    )
