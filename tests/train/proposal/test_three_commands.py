"""From a folder of spreadsheets and an export of work orders to a report: ``init``, ``train``, and there it is."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xlsxwriter

from rarefault.runtime.cli import main
from rarefault.train.config import load_train_config
from rarefault.train.runs.run_directory import RunDirectory

pytestmark = pytest.mark.training

START = datetime(2024, 3, 1)  # noqa: DTZ001 - workbooks have no zones
STEP = timedelta(minutes=10)
ROWS = 20 * 144
HEADER = ("Zeitstempel", "Maschine", "Druck [bar]", "Temperatur (°C)", "Betrieb")


class Plant:
    """Machines whose bearings get hot and whose seals leak, simulated from a seed."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.orders: list[tuple[str, datetime, datetime, str, str]] = []

    def rows(self, name: str) -> list[tuple[datetime, str, float, float, str]]:
        """Samples of a machine; what went wrong becomes work orders."""
        pressure, temperature = self.rng.normal(5, 0.2, ROWS), self.rng.normal(60, 2, ROWS)
        at = 80
        while at < ROWS - 60:
            length, code = int(self.rng.integers(12, 24)), str(self.rng.choice(["Lager", "Dichtung"]))
            if code == "Lager":
                temperature[at : at + length] += 15
            else:
                pressure[at : at + length] -= 2
            self.orders.append((name, START + at * STEP, START + (at + length) * STEP, code, "gemeldet; behoben"))
            at += length + int(self.rng.integers(60, 120))
        self.orders.append((name, START + 300 * STEP, START + 303 * STEP, "INSP", "Inspektion"))
        return [
            (
                START + i * STEP,
                name,
                round(float(pressure[i]), 2),
                round(float(temperature[i]), 1),
                "EIN" if i % 97 else "AUS",
            )
            for i in range(ROWS)
        ]

    def write_orders(self, path: Path) -> None:
        """The export of the maintenance system."""
        lines = ["Asset;Reported at;Closed at;Code;Comment"]
        lines += [f'{a};{b:%d.%m.%Y %H:%M};{c:%d.%m.%Y %H:%M};{d};"{e}"' for a, b, c, d, e in self.orders]
        lines.append("Pumpe 9;04.03.2024 10:00;04.03.2024 12:00;Lager;nicht von uns")
        lines.append("Pumpe 1;20.03.2024 20:00;;Lager;offen")
        path.write_text("\n".join(lines), "cp1252")


def write_workbook(path: Path, rows: list[tuple[datetime, str, float, float, str]]) -> None:
    """A spreadsheet with days as people see them there."""
    with xlsxwriter.Workbook(str(path)) as book:
        form, sheet = book.add_format({"num_format": "dd.mm.yyyy hh:mm"}), book.add_worksheet("Daten")
        sheet.write_row(0, 0, HEADER)
        for number, (moment, *cells) in enumerate(rows, 1):
            sheet.write_datetime(number, 0, moment, form)
            sheet.write_row(number, 1, cells)


def write_csv(path: Path, rows: list[tuple[datetime, str, float, float, str]]) -> None:
    """An export with decimal commas."""
    lines = [";".join(HEADER)]
    for moment, name, *values, state in rows:
        numbers = ";".join(str(value).replace(".", ",") for value in values)
        lines.append(f"{moment:%d.%m.%Y %H:%M};{name};{numbers};{state}")
    path.write_text("\n".join(lines), "cp1252")


@pytest.mark.parametrize("write", [write_workbook, write_csv])
def test_three_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    """Nothing is edited in between; inspections are no fault, and the faults are found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ordner").mkdir()
    plant = Plant()
    ending = "xlsx" if write is write_workbook else "csv"
    for name in ("Pumpe 1", "Pumpe 2", "Pumpe 3"):
        (write_workbook if write is write_workbook else write_csv)(
            tmp_path / f"ordner/{name}.{ending}", plant.rows(name)
        )
    plant.write_orders(tmp_path / "ordner/Störungen.csv")

    assert main(["init", "ordner/", "--yes"]) == 0
    assert main(["train", "plant.toml", "--fast"]) == 0
    report = (tmp_path / "runs/plant/report.html").read_text("utf-8")
    assert "Dichtung" in report
    assert "Lager" in report
    assert RunDirectory(tmp_path / "runs/plant").load_manifest().classes == ("normal", "Dichtung", "Lager")

    text = (tmp_path / "plant.toml").read_text("utf-8").replace("\n# ", " ")
    assert f'samples = ["ordner/Pumpe*.{ending}"]' in text
    assert "'Pumpe 9' no sample was met" in text
    assert "QUESTION: 'INSP' (3)" in text
    assert "QUESTION: 1 event(s) have no end" in text
    channels = load_train_config(tmp_path / "plant.toml").channels
    assert channels["Druck [bar]"].unit == "bar"
    assert channels["Betrieb"].states == {"AUS": 0, "EIN": 1}
