"""History: what the trainer reads, as arrays."""

from rarefault.train.history.config import (
    DataConfig,
    JournalConfig,
    Phm2015Config,
    TableConfig,
    TogetherConfig,
    absolute,
)
from rarefault.train.history.data import NO_LABEL, UNLABELLED, Events, History, Stretches
from rarefault.train.history.labels import label_bins, labelled_ends
from rarefault.train.history.notes import Note, ReadNotes
from rarefault.train.history.read import read_history

__all__ = [
    "NO_LABEL",
    "UNLABELLED",
    "DataConfig",
    "Events",
    "History",
    "JournalConfig",
    "Note",
    "Phm2015Config",
    "ReadNotes",
    "Stretches",
    "TableConfig",
    "TogetherConfig",
    "absolute",
    "label_bins",
    "labelled_ends",
    "read_history",
]
