"""Recovery: pipeline and devices as the journal has them."""

import logging
import time
from collections.abc import Iterable

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.turns.memory import NewPipeline, take_over
from rarefault.runtime.errors import DamagedJournalError
from rarefault.runtime.inference.decision import STATE_FOREIGN
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.journal.damage import Salvaged
from rarefault.runtime.journal.records import SILENCE, Batch
from rarefault.runtime.journal.writer import Journal

log = logging.getLogger(__name__)

#: Samples that are pushed at once when a journal is processed again.
REPLAY = 20_000
#: Samples that a model is shown which takes over from another one.
WARM_UP = 500_000


def recover(journal: Journal, new_pipeline: NewPipeline, devices: DeviceTable) -> Pipeline:
    """The pipeline as the journal has it; the devices become those of the journal, and no others.

    Raises:
        DamagedJournalError: the journal holds what cannot be.
        JournalError: it cannot be read.
    """
    started = time.perf_counter()
    devices.assign([])
    pipeline = new_pipeline(devices)
    snapshot = journal.load_snapshot()
    after, published = 0, None
    if snapshot is not None and snapshot[1] == pipeline.model_id:
        try:
            pipeline.restore(journal.snapshot_parts())
            after = snapshot[0]
        except ValueError as error:
            log.warning("the snapshot cannot be used, processing all samples of the journal again: %s", error)
            pipeline = new_pipeline(devices)
    elif snapshot is not None:
        log.info("the journal's snapshot is of model %s; bringing this model up to date", snapshot[1])
        after, published = journal.recent(WARM_UP), journal.last_published()
    samples = _replay(pipeline, devices, journal, journal.batches(after))
    if published is not None:
        take_over(pipeline, published)
    for device, topic in journal.origins().items():
        if device in devices.by_name:
            devices.topic[devices.by_name[device]] = topic
    devices.saved()
    # A salvaged journal may have lost the names of devices that its snapshot has.
    devices.unsaved += [slot for slot in devices.by_name.values() if devices.number[slot] < 0]
    log.info(
        "journal %s: %d devices, %d samples after the snapshot processed again in %.2f s, %d messages owed",
        journal.path,
        len(devices),
        samples,
        time.perf_counter() - started,
        journal.count("outbox"),
    )
    return pipeline


def bring_up_to_date(pipeline: Pipeline, devices: DeviceTable, journal: Journal) -> None:
    """Show another model the newest samples of the journal."""
    _replay(pipeline, devices, journal, journal.batches(journal.recent(WARM_UP)))


def go_on_after(salvaged: Salvaged, pipeline: Pipeline, journal: Journal) -> None:
    """Publish nothing that was published before, although what led to it may be lost."""
    before = pipeline.decision.reported(len(pipeline.devices)).tolist()
    published = {d: pipeline.state_name(s) for d, s in zip(pipeline.devices, before, strict=True) if s != STATE_FOREIGN}
    take_over(pipeline, published | journal.last_published())
    for device, end_ms in salvaged.judged_ms.items():
        slot = pipeline.slots.get(device)
        if slot is None:
            continue
        newest_ms = end_ms + (0 if device in salvaged.silent else pipeline.manifest.grid.lateness_ms)
        if pipeline.grid.newest_ms(np.array([slot]))[0] < newest_ms:
            pipeline.begin_after(slot, newest_ms)


def _replay(pipeline: Pipeline, devices: DeviceTable, journal: Journal, batches: Iterable[Batch]) -> int:
    """Give all devices their slots, push batches once more, and return the number of samples; nothing is published."""
    slots = _slots_by_number(pipeline, devices, journal)
    total = waiting = 0
    parts: list[tuple[Int64, Int64, Float64]] = []

    def push() -> None:
        if parts:
            pipeline.push(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            parts.clear()

    for batch in batches:
        if len(batch.device) and batch.device.max() >= len(slots):
            raise DamagedJournalError(f"{journal.path}: batch {batch.seq} has a device that there is not")
        at = slots[batch.device]
        there = at >= 0  # else the device has been forgotten since
        if batch.kind == SILENCE:
            push()
            pipeline.silence(at[there])
            continue
        parts.append((at[there], batch.time_ms[there], batch.values[there]))
        total, waiting = total + int(there.sum()), waiting + len(there)
        if waiting >= REPLAY:
            push()
            waiting = 0
    push()
    return total


def _slots_by_number(pipeline: Pipeline, devices: DeviceTable, journal: Journal) -> Int64:
    """Slots of all devices that the journal has and that are not forgotten, by number; -1 for others."""
    slots = np.full(max(journal.devices(), default=0) + 1, -1, np.int64)
    for number, (name, newest_ms) in journal.present().items():
        slot = slots[number] = devices.slot(name)
        devices.number[slot] = number
        if newest_ms is not None and pipeline.grid.newest_ms(slots[[number]])[0] < newest_ms:
            pipeline.grid.start_after(slot, newest_ms)
    return slots
