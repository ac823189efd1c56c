"""The errors that a person sees: one clear sentence each that names the file, key or topic, and what to do.

::

    RarefaultError             exit code 1
    ├── UsageError             exit code 2
    │   ├── ConfigError        a configuration file; all of its problems at once
    │   └── MissingExtraError  a command whose optional dependencies are not installed
    ├── HistoryError           what the trainer reads
    ├── ModelFileError         a model file that is damaged, foreign, or made for something else
    ├── SampleError            a sample that an embedded pipeline cannot take
    ├── ParityError            an exported graph that does not compute what the checkpoint computes
    ├── BrokerError            the MQTT broker refused a request
    └── JournalError           the daemon's journal cannot be read or written
        └── DamagedJournalError    because the file is damaged
"""

from collections.abc import Sequence


class RarefaultError(Exception):
    """Base of all errors that rarefault raises on purpose; the command line prints the text without a traceback."""

    exit_code = 1


class UsageError(RarefaultError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that cannot be used.

    Attributes:
        source: the file (or other origin) of the configuration.
        problems: every problem found, each starting with the full path of its key.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = list(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} problem(s) in the configuration:{lines}")


class MissingExtraError(UsageError):
    """A command was called whose optional dependencies are not installed."""

    def __init__(self, command: str, extra: str, module: str) -> None:
        self.command, self.extra, self.module = command, extra, module
        super().__init__(
            f"'rarefault {command}' needs the extra [{extra}], which is not installed here (no module {module!r}): "
            f"pip install 'rarefault[{extra}]'"
        )


class HistoryError(RarefaultError):
    """A history or fault log that cannot be read, or that no model can be fitted on."""


class ModelFileError(RarefaultError):
    """A model file that is no rarefault model, is damaged, or does not fit its use."""


class SampleError(RarefaultError):
    """A sample that a pipeline cannot take: a channel that the model does not know, no number, or no time."""


class ParityError(RarefaultError):
    """Two computations that must agree do not.

    Attributes:
        what: the output that differs, and on which input.
        measured: the largest absolute difference found.
        allowed: the largest absolute difference allowed.
    """

    def __init__(self, what: str, measured: float, allowed: float) -> None:
        self.what, self.measured, self.allowed = what, measured, allowed
        super().__init__(f"{what}: differs by {measured:.3g}, allowed {allowed:.3g}")


class BrokerError(RarefaultError):
    """The MQTT broker refused a connection, a subscription or a message for a reason that waiting does not remove."""


class JournalError(RarefaultError):
    """The journal cannot be read or written: a full disk, a damaged file, another daemon's, another model's."""


class DamagedJournalError(JournalError):
    """The journal's file is damaged; what can still be read of it can be salvaged."""
