"""What names of columns say, in English and German; and what their cells do."""

import re

import polars as pl

from rarefault.train.history.dialect.head import are_times
from rarefault.train.history.parsing.cells import MISSING
from rarefault.train.history.parsing.frames import Columns
from rarefault.train.history.parsing.text_form import TimeForm
from rarefault.train.history.parsing.times import NUMERIC_DATE, parse_times

#: Words of a name, or parts of German compounds, in the order of what says more.
START = ("start", "begin", "anfang", "reported", "report", "gemeldet", "meldung", "from", "von", "raised", "onset",
         "opened", "open", "occurred", "created", "eröffnet", "gekommen", "kommt", "auftreten")  # fmt: skip
END = ("end", "finish", "closed", "close", "cleared", "ende", "until", "bis", "resolved", "completed", "to", "fixed",
       "restored", "behoben", "erledigt", "geschlossen", "abgeschlossen", "gegangen", "geht", "stop")  # fmt: skip
DURATION = ("duration", "dauer", "downtime", "stillstand", "ausfallzeit", "minutes", "minuten", "hours", "stunden")
DEVICE = ("device", "machine", "asset", "maschine", "gerät", "geraet", "anlage", "aggregat", "equipment", "unit",
          "turbine", "pump", "pumpe", "robot", "roboter", "station", "well", "line", "linie", "plant", "werk", "engine",
          "vehicle", "serial", "id", "name", "tag", "host")  # fmt: skip
SITE = ("site", "standort", "plant", "werk", "location", "ort", "factory", "area", "building", "halle", "hall", "line")
FAULT = ("fault", "failure", "störung", "stoerung", "fehler", "code", "error", "anomaly", "ursache", "cause", "reason",
         "schaden", "defekt", "problem", "symptom", "category", "klasse", "class", "label", "type", "art", "event",
         "alarm", "grund")  # fmt: skip
#: A column of samples with one of these is a label whatever it holds, with one of the weaker words where its cells fit.
LABEL = (
    "label",
    "class",
    "klasse",
    "fault",
    "failure",
    "anomaly",
    "target",
    "störung",
    "stoerung",
    "fehler",
    "condition",
    "alarm",
)
WEAK_LABEL = ("status", "zustand", "state", "health", "machine_status")
REMARK = ("comment", "remark", "description", "note", "bemerkung", "kommentar", "beschreibung", "freitext", "text")
#: Columns of tags, in long form.
TAG = ("tag", "channel", "kanal", "sensor", "signal", "messstelle", "variable", "parameter", "metric", "point", "field",
       "measurement", "item", "property", "name", "id")  # fmt: skip
TIME = ("time", "date", "zeit", "datum", "timestamp", "ts", "epoch", "datetime", "unix", *START, *END)
#: Such parts of a compound are looked for within a word as well.
_INSIDE = frozenset(
    {"beginn", "begin", "anfang", "gemeldet", "ende", "behoben", "erledigt", "störung", "stoerung", "fehler", "ursache"}
    | {"maschine", "anlage", "gerät", "geraet", "pumpe", "zeit", "datum", "start", "status", "fault", "failure"}
    | {"timestamp", "machine", "device", "standort", "kommentar", "bemerkung", "beschreibung", "geschlossen", "klasse"}
)
_UNIT = re.compile(r"^(?P<name>.*?\S)\s*[\[(](?P<unit>[^\[\]()]{1,12})[\])]\s*$")
_NO_UNITS = re.compile(r"\d+|avg|min|max|mean|std|sum|raw|mittel\w*|soll|ist|set|actual|calc|csv|a|b", re.IGNORECASE)


def words_of(name: str) -> list[str]:
    """The words of a name in small letters, without its unit: ``machineID [x]`` has ``machine`` and ``id``."""
    plain = re.sub(r"[\[(].*?[\])]", " ", name)
    plain = re.sub(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])", " ", plain)
    return [word for word in re.split(r"[\W_\d]+", plain.lower()) if word]


def rank(name: str, words: tuple[str, ...]) -> int | None:
    """How well a name fits: the place of the first word that it has; None where it has none."""
    own = words_of(name)
    for place, word in enumerate(words):
        if word in own or (word in _INSIDE and any(word in one for one in own)):
            return place
    return None


def best(names: list[str], words: tuple[str, ...]) -> str | None:
    """The name that fits best; None where none does."""
    ranked = [(place, name) for name in names if (place := rank(name, words)) is not None]
    return min(ranked, key=lambda item: item[0])[1] if ranked else None


def unit_of(name: str) -> str:
    """The unit in a column's name, as in ``Druck [bar]``; "" where there is none."""
    found = _UNIT.match(name)
    return found["unit"].strip() if found and not _NO_UNITS.fullmatch(found["unit"].strip()) else ""


def filled(column: pl.Series) -> pl.Series:
    """The cells that hold something."""
    if column.dtype == pl.String:
        return column.filter(~column.fill_null("").str.strip_chars().str.to_lowercase().is_in(MISSING))
    return column.drop_nans().drop_nulls() if column.dtype.is_float() else column.drop_nulls()


def time_names(columns: Columns) -> list[str]:
    """The columns whose cells are times, empty ones and those in a far future apart; numbers only by their name."""
    found = []
    for name, column in columns.items():
        there = filled(column)
        if not len(there):
            continue
        text = there.cast(pl.String).str.strip_chars()
        numbers = there.dtype.is_numeric() or (text.str.contains(r"^[\d.,]+$") & ~text.str.contains(NUMERIC_DATE)).any()
        if numbers and rank(name, TIME) is None:
            continue
        if there.dtype == pl.String and not numbers:
            there = there.filter(pl.Series(~parse_times(there, TimeForm("UTC", day_first=True)).far))
        if len(there) and are_times(there):
            found.append(name)
    return found
