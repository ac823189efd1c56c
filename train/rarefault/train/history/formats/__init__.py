"""The formats of a history: one module each, with its ``[data]`` section and its reader, listed in ``Source``."""

from rarefault.train.history.formats.journal import JournalConfig
from rarefault.train.history.formats.phm2015 import Phm2015Config
from rarefault.train.history.formats.recording import RecordingConfig
from rarefault.train.history.formats.table import TableConfig

#: One source of samples. A new format is a module in this folder and an entry here.
Source = Phm2015Config | RecordingConfig | TableConfig | JournalConfig
