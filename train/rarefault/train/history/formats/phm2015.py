"""The folders of the PHM Society's 2015 data challenge: plants with components, zones and a fault log.

``plant_Na.csv``
    component, time, S1..S4 (sensors), R1..R4 (control references);
``plant_Nb.csv``
    zone, time, E1 (cumulative energy), E2 (power);
``plant_Nc.csv``
    start, end, fault code 1 to 6.

No header lines; times have no zone and are taken as UTC. A plant is a device; its channels are ``c1.S1`` ... ``c5.R4``,
``z1.E1``, ``z1.E2`` and so on, and each row is a sample of its own. All ``zN.E1`` are counters: the grid takes their
increase, and an interval in which E1 does not increase is missing. The log does not name the component of an event,
but its times show it (:mod:`rarefault.train.history.event_units`). Values outside a sensor's range (R1 = 1139 at
start-up, S2 down to -824) stay; the model clips them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np
import polars as pl

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.assemble import Piece
from rarefault.train.history.data import History
from rarefault.train.history.events.units import with_units
from rarefault.train.history.finish import Draft, EventPiece, finish, refuse_reversed
from rarefault.train.history.keys import Name
from rarefault.train.history.notes import UNKNOWN_FAULTS
from rarefault.train.history.parsing.cells import parse_numbers
from rarefault.train.history.parsing.files import folder_contents
from rarefault.train.history.parsing.lines import Block, read_blocks
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.parsing.text_form import TextForm, TimeForm
from rarefault.train.history.parsing.times import parse_times
from rarefault.train.history.source import NO_SPECS, SourceConfig

SENSORS = ("S1", "S2", "S3", "S4", "R1", "R2", "R3", "R4")
METERS = ("E1", "E2")
COUNTER = "E1"
N_FAULTS = 6

_FILE = re.compile(r"plant_(\d+)([abc])\.csv")


class Phm2015Config(SourceConfig, frozen=True, kw_only=True, tag_field="format", tag="phm2015"):
    """A folder of ``plant_Na.csv`` (sensors), ``plant_Nb.csv`` (energy) and ``plant_Nc.csv`` (fault log)."""

    path: Name
    """The folder, relative to the configuration file."""
    plants: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()
    """The plants N to read; every complete one (with all three files) by default."""
    time_shift_s: float = 3600.0
    """Added to start and end of every event, seconds; the challenge's fault logs run one hour behind its sensor
    files."""

    @property
    def places(self) -> tuple[str, ...]:
        """The folder."""
        return (self.path,)

    @classmethod
    def of_paths(cls, paths: Sequence[Path]) -> Self | None:
        """One folder."""
        return cls(path=str(paths[0])) if len(paths) == 1 and paths[0].is_dir() else None

    def absolute(self, base: Path) -> Self:
        """The section with its path made absolute."""
        return msgspec.structs.replace(self, path=str(base.resolve() / self.path))

    def with_offset(self, offset_s: float) -> str:
        """The key ``time_shift_s``."""
        return f"set data.time_shift_s = {self.time_shift_s + offset_s:g}"

    def unit_prefixes(self, channels: Sequence[str]) -> tuple[str, ...]:
        """The components of a plant: ``c1.``, ``c2.`` and so on."""
        groups = {_stream(name) for name in channels}
        return tuple(f"{name}." for name in sorted(groups, key=natural) if re.fullmatch(r"c\d+", name))

    def read(
        self,
        base: Path,
        *,
        allow_incomplete: bool = False,
        specs: ChannelSpecs = NO_SPECS,  # noqa: ARG002 - its values are numbers
    ) -> History:
        """Read the plants of the folder."""
        folder = base / self.path
        found = _find(folder)
        plants = _choose(folder, found, self.plants, allow_incomplete=allow_incomplete)
        draft = Draft()
        for device, plant in enumerate(plants):
            files = found[plant]
            if "a" in files:
                _read_samples(files["a"], device, "c", SENSORS, draft, self.encoding)
            if "b" in files:
                _read_samples(files["b"], device, "z", METERS, draft, self.encoding)
            if "c" in files:
                _read_events(files["c"], device, round(self.time_shift_s * 1000), draft, self.encoding)
        channels = sorted({name for piece in draft.pieces for name in piece.channels}, key=_channel_order)
        faults = [f"fault_{code}" for code in range(1, N_FAULTS + 1)]
        history = finish(
            self,
            draft,
            devices=[f"plant_{plant}" for plant in plants],
            channels=channels,
            counters=[name for name in channels if name.endswith(f".{COUNTER}")],
            faults=faults,
            fault_order=faults,
        )
        return with_units(history, [name for name in dict.fromkeys(map(_stream, channels)) if name.startswith("c")])


def _stream(channel: str) -> str:
    return channel.partition(".")[0]


def _find(folder: Path) -> dict[int, dict[str, Path]]:
    """The files of each plant, by their letter."""
    if not folder.is_dir():
        raise HistoryError(f"data.path: the folder {folder} does not exist")
    found: dict[int, dict[str, Path]] = {}
    for path in folder.iterdir():
        if name := _FILE.fullmatch(path.name):
            found.setdefault(int(name[1]), {})[name[2]] = path
    if not found:
        hint = folder_contents(folder, (".csv",))
        raise HistoryError(f"data.path: there are no plant_Na.csv, plant_Nb.csv, plant_Nc.csv files; {hint}")
    return found


def _choose(
    folder: Path, found: dict[int, dict[str, Path]], wanted: tuple[int, ...], *, allow_incomplete: bool
) -> list[int]:
    complete = sorted(plant for plant, files in found.items() if len(files) == 3)
    if not wanted:
        if complete or allow_incomplete:
            return complete or sorted(found)
        plants = ", ".join(map(str, sorted(found)))
        raise HistoryError(
            f"data.path: no plant in {folder} is complete (plant_Na.csv, plant_Nb.csv and plant_Nc.csv); "
            f"some files are there of plants {plants}"
        )
    for plant in wanted:
        lacking = sorted(set("abc") - set(found.get(plant, {})))
        if lacking and not (allow_incomplete and plant in found):
            names = ", ".join(f"plant_{plant}{letter}.csv" for letter in lacking)
            raise HistoryError(
                f"data.plants: {names} missing in {folder}; complete plants there: "
                f"{', '.join(map(str, complete)) or 'none'}"
            )
    return list(dict.fromkeys(wanted))


def _read_samples(path: Path, device: int, prefix: str, sensors: tuple[str, ...], draft: Draft, encoding: str) -> None:
    """Rows of (component or zone, time, values); one piece per component and block."""
    for block in read_blocks(path, 2 + len(sensors), TextForm(encoding=encoding)):
        unit = _whole_number(block, 0, "component" if prefix == "c" else "zone")
        time_ms = _time(block, 1, "time")
        columns = []
        for name, column in zip(sensors, block.fields[2:], strict=True):
            value, bad = parse_numbers(column)
            block.refuse(bad, f"{name} is no number")
            columns.append(value)
        block.report(draft.notes)
        values = np.stack(columns, axis=1)
        for number in np.unique(unit[block.good]).tolist():
            rows = np.flatnonzero(block.good & (unit == number))
            stream = f"{prefix}{number}"
            draft.pieces.append(
                Piece(
                    device=np.full(len(rows), device, np.int32),
                    time_ms=time_ms[rows],
                    channels=[f"{stream}.{name}" for name in sensors],
                    values=values[rows],
                    path=path,
                    line=block.line[rows],
                    stream=stream,
                )
            )


def _read_events(path: Path, device: int, shift_ms: int, draft: Draft, encoding: str) -> None:
    for block in read_blocks(path, 3, TextForm(encoding=encoding)):
        start_ms, end_ms = _time(block, 0, "start"), _time(block, 1, "end")
        block.report(draft.notes)
        left = refuse_reversed(block, start_ms, end_ms, draft.notes)
        code = block.fields[2].str.strip_chars().cast(pl.Int64, strict=False).fill_null(0).to_numpy()
        unknown = left & ((code < 1) | (code > N_FAULTS))
        block.note(draft.notes, UNKNOWN_FAULTS, unknown)
        rows = np.flatnonzero(left & ~unknown)
        draft.events.append(
            EventPiece(
                device=np.full(len(rows), device, np.int32),
                start_ms=start_ms[rows] + shift_ms,
                end_ms=end_ms[rows] + shift_ms,
                fault=(code[rows] - 1).astype(np.int32),
            )
        )


def _time(block: Block, column: int, name: str) -> Int64:
    times = parse_times(block.fields[column], TimeForm("UTC"))
    block.refuse(~times.good, f"{name} is no time between 1970 and 2109")
    return times.ms


def _whole_number(block: Block, column: int, name: str) -> Int64:
    number = block.fields[column].str.strip_chars().cast(pl.Int64, strict=False)
    block.refuse((number.is_null() | (number < 0)).fill_null(value=True).to_numpy(), f"{name} is no whole number")
    return number.fill_null(-1).to_numpy()


def _channel_order(name: str) -> tuple[str, int, int]:
    stream, sensor = name.split(".")
    return stream[0], int(stream[1:]), (*SENSORS, *METERS).index(sensor)
