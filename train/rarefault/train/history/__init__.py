"""History: what the trainer reads, as arrays."""

from rarefault.train.history.config import DataConfig, absolute, source_of
from rarefault.train.history.data import NO_LABEL, UNLABELLED, Events, History, Stretches
from rarefault.train.history.formats.journal import JournalConfig
from rarefault.train.history.formats.phm2015 import Phm2015Config
from rarefault.train.history.formats.recording import RecordingConfig
from rarefault.train.history.formats.table import TableConfig
from rarefault.train.history.labels import label_bins, labelled_ends
from rarefault.train.history.notes import Note, ReadNotes
from rarefault.train.history.read import read_history
from rarefault.train.history.together import TogetherConfig

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
    "RecordingConfig",
    "Stretches",
    "TableConfig",
    "TogetherConfig",
    "absolute",
    "label_bins",
    "labelled_ends",
    "read_history",
    "source_of",
]
