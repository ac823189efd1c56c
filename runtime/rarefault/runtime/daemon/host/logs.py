"""The log on standard error: lines of text, or of JSON for machines."""

import logging
import sys

import msgspec

from rarefault.runtime.daemon.config import LogConfig
from rarefault.runtime.times import format_ms


class TextFormatter(logging.Formatter):
    """``2011-03-01T12:00:03.000Z WARNING text``."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line, and its traceback if there is one."""
        line = f"{format_ms(int(record.created * 1000))} {record.levelname} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", "traceback"}``, the last where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line of JSON."""
        fields = {
            "time": format_ms(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def set_level(config: LogConfig) -> None:
    """Log more or less from now on."""
    logging.getLogger("rarefault").setLevel(config.level.upper())


def set_up_logging(config: LogConfig) -> None:
    """Send the log to standard error; for the command alone, as it changes the whole process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
