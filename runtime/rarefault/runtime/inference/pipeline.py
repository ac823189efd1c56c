"""Samples to verdicts: grid, window buffer, engine and decision in a row.

The daemon pushes a few messages at a time, the trainer a whole recording; both get the same verdicts, because this is
the only way from samples to verdicts that there is.
"""

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike

from rarefault.runtime.arrays import Bool, Float32, Float64, Int32, Int64
from rarefault.runtime.inference.decision import STATE_NO_DATA, AlarmChange, Decision
from rarefault.runtime.inference.embedding import Alarm, Outcome, Sample, alarm_object, sample_arrays, verdict_objects
from rarefault.runtime.inference.engine import Engine, Step
from rarefault.runtime.inference.explain import Judged, explain
from rarefault.runtime.inference.grid import Bins, Clocks, Grid
from rarefault.runtime.inference.manifest import NO_DATA, UNKNOWN, GridSpec, Manifest, derived_columns
from rarefault.runtime.inference.missing import NO_VALUE_HERE, stands_for_none
from rarefault.runtime.inference.slots import Slots
from rarefault.runtime.inference.window_buffer import WindowBuffer, Windows
from rarefault.runtime.telemetry.channels import ChannelMeaning
from rarefault.runtime.telemetry.reasons import ValueReason

#: Devices in one part of a snapshot: some megabytes.
PART = 512


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Verdicts sorted by device slot, then by time; where a clock was set back, in order of their coming about.

    Attributes:
        device: slot of the device, [W].
        end_ms: end of the window, milliseconds since the epoch, [W].
        fresh: whether the window is the first of its segment, [W].
        opinions: of the experts, [W, E, V]; see :mod:`rarefault.runtime.inference.decision.pool`.
        posterior: calibrated probabilities, [W, K].
        fault: index of the verdict's class, [W].
        score: of that class, what decided, [W]; see :mod:`rarefault.runtime.inference.decision`.
        strange: which windows fit no class, [W].
        alarms: changes of alarm states, in order of time for each device.
    """

    device: Int32
    end_ms: Int64
    fresh: Bool
    opinions: Float32
    posterior: Float64
    fault: Int64
    score: Float64
    strange: Bool
    alarms: list[AlarmChange]

    def __len__(self) -> int:
        return len(self.end_ms)


class Pipeline:
    """Grid, window buffer, engine and decision of one model, for any number of devices.

    :meth:`push_sample` and :meth:`push_samples` take samples by name and return objects. :meth:`push` takes and returns
    arrays, and costs no Python object for each sample. All give the same verdicts.

    >>> from rarefault.runtime import load_model
    >>> pipeline = load_model("plant.onnx").pipeline()
    >>> for minute in range(9):
    ...     values = {"c1.S1": 700 + minute, "c1.S2": 650}
    ...     verdicts, alarms = pipeline.push_sample("plant_1", f"2024-03-01T12:0{minute}:00Z", values)
    ...     for verdict in verdicts:
    ...         print(verdict.device, verdict.start, verdict.end)
    plant_1 2024-03-01 12:00:00+00:00 2024-03-01 12:06:00+00:00
    plant_1 2024-03-01 12:02:00+00:00 2024-03-01 12:08:00+00:00

    Args:
        manifest: of the model.
        step: the model itself.
        model_id: names the model in verdicts; see :func:`rarefault.runtime.inference.model_file.load_model`, whose
            result makes a pipeline of a model file.
        table: slots of the devices, which pipelines that follow each other share; None for one of its own.

    Attributes:
        table: slots of the devices.
        named_missing: values taken as missing so far because the manifest names them.
        dropped_values: values taken as missing so far by what their channel is, by channel and reason.
    """

    def __init__(self, manifest: Manifest, step: Step, model_id: str, table: Slots | None = None) -> None:
        self.manifest = manifest
        self.model_id = model_id
        self.table = Slots() if table is None else table
        self.named_missing = 0
        self.dropped_values: Counter[tuple[str, ValueReason]] = Counter()
        self._meaning = ChannelMeaning(manifest.channel_specs, manifest.channels)
        counters = [name in manifest.counters for name in manifest.channels]
        self.grid = Grid(
            manifest.grid, len(manifest.channels), counters, derived_columns(manifest.derived, manifest.channels)
        )
        self.window_buffer = WindowBuffer(manifest.window, len(manifest.inputs), self.table.names)
        decision = manifest.decision
        self.engine = Engine(step, manifest.state_size, (len(decision.experts), decision.opinion_size))
        self.decision = Decision(manifest.decision)

    @property
    def devices(self) -> Sequence[str]:
        """Names by slot; empty for a slot whose device was forgotten."""
        return self.table.names

    @property
    def slots(self) -> Mapping[str, int]:
        """Slot of each device."""
        return self.table.by_name

    def slot(self, device: str) -> int:
        """The slot of a device, given out at its first mention."""
        return self.table.slot(device)

    def use_decision(self, manifest: Manifest) -> None:
        """Go on by the decision of a manifest that is like this one otherwise."""
        self.manifest = manifest
        self.decision.use(manifest.decision)

    def forget(self, slots: ArrayLike) -> None:
        """Forget devices: their slots are as new and will be given to others."""
        devices = np.asarray(slots, np.int64)
        for part in (self.grid, self.window_buffer, self.engine, self.decision):
            part.forget(devices)
        self.table.forget(devices.tolist())

    def begin_after(self, slot: int, newest_ms: int) -> None:
        """Forget what a device sent so far, and judge no window that its sample of this time has closed already."""
        devices = np.array([slot], np.int64)
        for part in (self.grid, self.window_buffer, self.engine):
            part.forget(devices)
        self.grid.start_after(slot, newest_ms)

    def silence(self, slots: ArrayLike) -> list[AlarmChange]:
        """Devices of which nothing has come for too long; the changes of alarms that follow.

        Only their alarms change. Should they come back within the grid's ``max_gap``, their windows go on.
        """
        devices = np.asarray(slots, np.int64)
        return self.decision.silence(devices, self.grid.heard_ms(devices))

    def push(self, device: ArrayLike, time_ms: ArrayLike, values: ArrayLike, *, explained: bool = False) -> Verdicts:
        """Take samples in their order of arrival and return the verdicts that they bring about.

        Args:
            device: slots as given by :meth:`slot`, [M].
            time_ms: milliseconds since the epoch, [M].
            values: as they are received, in the order of the manifest's channels, NaN = not reported, infinite = the
                value ends, [M, C]; the
                manifest's ``missing`` are not, either, and its ``channel_specs`` are applied.
            explained: whether alarms of faults are to name the channels that moved them.
        """
        values = np.asarray(values, np.float64)
        if self.manifest.missing:
            named = stands_for_none(values, self.manifest.missing)
            self.named_missing += int(named.sum())
            values = np.where(named, NO_VALUE_HERE, values)
        if self._meaning:
            values, dropped = self._meaning.apply(values)
            for column, why, which in dropped:
                self.dropped_values[self.manifest.channels[column], why] += int(which.sum())
        parts = []
        for bins, restarts in self.grid.turns(device, time_ms, values):
            parts.append(self._judge(bins, explained=explained))
            if restarts:
                # Alarms that come from a time when the device's clock was wrong hold no longer.
                slots = np.array([restart.device for restart in restarts])
                alarms = self.decision.silence(slots, np.array([restart.to_ms for restart in restarts]))
                parts[-1].alarms.extend(alarms)
        return parts[0] if len(parts) == 1 else joined(parts)

    def push_sample(
        self, device: str, time: str | float | datetime, values: Mapping[str, SupportsFloat | None]
    ) -> Outcome:
        """Take one sample and return the verdicts and alarms that it leads to; most samples lead to none.

        A window is judged when its last bin closes: with the first sample after it, and ``allowed_lateness_s`` later.
        A sample that is too late is dropped and counted in ``grid.late``.

        Args:
            device: name of the device; a new one is taken on.
            time: ISO 8601 text with a time zone, epoch seconds or milliseconds, or a datetime with a time zone.
            values: by the name of their channel, as the device sends them; None or NaN = not reported. Channels may
                be left out.

        Raises:
            SampleError: the model does not know a channel, a value is not a number, or the time is none. Nothing of the
                sample is taken then.
        """
        return self.push_samples([(device, time, values)])

    def push_samples(self, samples: Iterable[Sample]) -> Outcome:
        """Take many samples in their order of arrival, faster than one by one, with the same verdicts.

        Args:
            samples: device, time and values of each, as for :meth:`push_sample`.

        Raises:
            SampleError: as for :meth:`push_sample`; none of the samples is taken then.
        """
        devices, time_ms, values = sample_arrays(samples, self.manifest.channels)
        verdicts = self.push([self.slot(name) for name in devices], time_ms, values, explained=True)
        return Outcome(verdict_objects(verdicts, self), [alarm_object(change, self) for change in verdicts.alarms])

    def silence_device(self, device: str) -> list[Alarm]:
        """Report that nothing has come from a device for too long: its alarm becomes ``no data``, unless it is already.

        Args:
            device: its name. Of a device that never had a sample there is nothing to report.
        """
        slot = self.slots.get(device)
        return [] if slot is None else [alarm_object(change, self) for change in self.silence([slot])]

    def _judge(self, bins: Bins, *, explained: bool) -> Verdicts:
        windows = self.window_buffer.push(bins)
        end_ms = self.manifest.grid.end_ms(windows.end_index)
        states = beliefs = None
        if explained:
            states = np.empty((len(windows), self.manifest.state_size), np.float32)
            beliefs = np.empty((len(windows), len(self.manifest.classes)))
        opinions = self.engine.run(windows, states)
        posterior, fault, score, strange, alarms = self.decision.judge(
            windows.device, end_ms, windows.fresh, opinions, beliefs
        )
        if states is not None and beliefs is not None and alarms:
            at = {key: i for i, key in enumerate(zip(windows.device.tolist(), end_ms.tolist(), strict=True))}
            alarms = [
                self._explained(change, windows, at[change.device, change.end_ms], (states, beliefs, opinions))
                if 0 < change.state < len(self.manifest.classes)
                else change
                for change in alarms
            ]
        return Verdicts(windows.device, end_ms, windows.fresh, opinions, posterior, fault, score, strange, alarms)

    def _explained(
        self, change: AlarmChange, windows: Windows, i: int, judged_from: tuple[Float32, Float64, Float32]
    ) -> AlarmChange:
        """The change with its unit and channels; it was brought by window ``i``."""
        state, belief, opinions = (part[i] for part in judged_from)
        judged = Judged(windows.gather(i), state, belief, opinions)
        found = explain(judged, change.state, self.engine.step, self.decision, self.manifest.columns)
        return replace(change, channels=found.channels, unit=found.unit)

    def snapshot(self) -> bytes:
        """All that the pipeline remembers, to go on from with :meth:`restore`; contains no code."""
        return self._snapshot(slice(0, len(self.devices)))

    def snapshot_parts(self) -> Iterator[bytes]:
        """What :meth:`snapshot` gives in parts of some devices each, so that a fleet's memory is not needed twice."""
        for first in range(0, max(len(self.devices), 1), PART):
            yield self._snapshot(slice(first, min(first + PART, len(self.devices))))

    def _snapshot(self, rows: slice) -> bytes:
        arrays = {f"grid.{name}": value for name, value in self.grid.state(rows).items()}
        arrays |= {
            f"streams.{name}": value for name, value in self.window_buffer.state(rows).items()
        }  # as it was called once
        arrays |= {f"decision.{name}": value for name, value in self.decision.state(rows).items()}
        arrays["engine"] = self.engine.state(rows)
        # An earlier release must not take a part for the whole.
        whole = rows.stop - rows.start == len(self.devices)
        arrays["devices" if whole else "part_devices"] = np.array(self.devices[rows], dtype=np.str_)
        arrays["part"] = np.array([rows.start, len(self.devices)])
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **arrays)
        return out.getvalue()

    def restore(self, snapshot: bytes | Iterable[bytes]) -> None:
        """Go on from a snapshot of a pipeline with the same model.

        Args:
            snapshot: what :meth:`snapshot` gave, or all of :meth:`snapshot_parts` in their order.

        Raises:
            ValueError: it is damaged, or of another model; so is one that an earlier release took. The pipeline cannot
                be used then.
        """
        devices: list[str] = []
        total = -1
        for part in (snapshot,) if isinstance(snapshot, bytes) else snapshot:
            if len(devices) != total:  # more may follow, left by a larger fleet
                total = self._restore(part, devices)
        if len(devices) != total:
            raise ValueError(f"not a whole snapshot of a pipeline: it has {len(devices)} of {total} devices")
        self.table.assign(devices)

    def _restore(self, part: bytes, devices: list[str]) -> int:
        """Take over a part, add its devices to those before it, and return how many the whole has."""
        first = len(devices)
        try:
            with np.load(io.BytesIO(part), allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            names = [str(name) for name in arrays["devices" if "devices" in arrays else "part_devices"]]
            start, total = arrays["part"].tolist()
            if start != first:
                raise ValueError(f"not a whole snapshot of a pipeline: devices {first} to {start} are missing")
            self.grid.restore(_under("grid.", arrays), first)
            self.window_buffer.restore(_under("streams.", arrays), first)
            self.engine.restore(arrays["engine"], first)
            self.decision.restore(_under("decision.", arrays), first)
        except (OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"not a snapshot of a pipeline: {error}") from error
        devices += names
        return int(total)

    def state_name(self, state: int) -> str:
        """Name of a verdict's or an alarm's class, ``unknown`` and ``no data`` included."""
        if state == STATE_NO_DATA:
            return NO_DATA
        return UNKNOWN if state == len(self.manifest.classes) else self.manifest.classes[state]

    def unit_name(self, unit: int | None) -> str | None:
        """Name of the unit of this number."""
        units = self.manifest.decision.units
        return None if unit is None or units is None else units.names[unit]

    def verdict_id(self, device: str, end_ms: int) -> str:
        """Id of this model's verdict on the window of a device that ends at ``end_ms``."""
        return verdict_id(device, end_ms, self.model_id)

    def start_ms(self, end_ms: int) -> int:
        """Start of the window that ends at ``end_ms``."""
        return int(end_ms) - self.manifest.window.length * self.manifest.grid.period_ms


@dataclass(frozen=True, slots=True)
class DeviceClock:
    """Time of a device in a snapshot.

    Attributes:
        newest_ms: largest time believed.
        heard_ms: time of its last sample, be it late because its clock was wrong before.
        late_run: number of late samples since the last one on time.
        muted: whether all of its samples have been late for a while.
    """

    newest_ms: int
    heard_ms: int
    late_run: int
    muted: bool


def device_clocks(snapshot: bytes) -> dict[str, DeviceClock]:
    """The devices' clocks in a pipeline's snapshot, by name; empty where it is of another release."""
    try:
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as found:
            state = {name.removeprefix("grid."): found[name] for name in found.files if name.startswith("grid.")}
            names = [str(name) for name in found["devices" if "devices" in found.files else "part_devices"]]
        clocks = Clocks(GridSpec(restart_after=int(state["restart_after"])))
        clocks.restore(state)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return {}
    slots = np.array([slot for slot, name in enumerate(names) if name and slot < clocks.capacity], np.int64)
    muted = set(clocks.muted().tolist())
    columns = zip(
        slots.tolist(),
        clocks.newest_ms[slots].tolist(),
        clocks.heard_ms(slots).tolist(),
        clocks.late_run[slots].tolist(),
        strict=True,
    )
    return {names[slot]: DeviceClock(newest, heard, late, slot in muted) for slot, newest, heard, late in columns}


def _under(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def joined(parts: list[Verdicts]) -> Verdicts:
    """The verdicts of several pushes that followed each other, sorted by device; those of one stay in their order."""
    device = np.concatenate([part.device for part in parts])
    order = np.argsort(device, kind="stable")

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    return Verdicts(
        device[order],
        column("end_ms"),
        column("fresh"),
        column("opinions"),
        column("posterior"),
        column("fault"),
        column("score"),
        column("strange"),
        [alarm for part in parts for alarm in part.alarms],
    )


def verdict_id(device: str, end_ms: int, model_id: str) -> str:
    """Deterministic id of a verdict, so that a consumer can drop a repeated delivery (96 bits as hexadecimal)."""
    text = f"{device}\0{int(end_ms)}\0{model_id}".encode()
    return hashlib.blake2b(text, digest_size=12).hexdigest()
