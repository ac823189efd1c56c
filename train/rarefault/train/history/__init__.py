"""History: what the trainer reads, as arrays."""

from rarefault.train.history.config import DataConfig, Phm2015Config, TableConfig
from rarefault.train.history.data import NORMAL, Events, History
from rarefault.train.history.labels import label_bins
from rarefault.train.history.notes import Note, ReadNotes
from rarefault.train.history.read import read_history

__all__ = [
    "NORMAL",
    "DataConfig",
    "Events",
    "History",
    "Note",
    "Phm2015Config",
    "ReadNotes",
    "TableConfig",
    "label_bins",
    "read_history",
]
