"""A sink: a place that verdicts and alarms are brought to. The broker is one, a file another.

Every sink has an outbox of its own, so that one in trouble holds up no other. An entry leaves the outbox when its sink
confirms it; what was published and not confirmed is published again, so that an entry may arrive twice, with the same
id, and never not at all.
"""

from typing import Literal, NamedTuple, Protocol

from rarefault.runtime.journal.records import Entry

#: What a sink may want.
What = Literal["all", "verdicts", "alarms"]


class Route(NamedTuple):
    """What goes to a sink, by its name."""

    sink: str
    what: What = "all"


class Sink(Protocol):
    """One place.

    Attributes:
        name: the sink's own, in the journal, in metrics and in the log; another name is another sink.
    """

    name: str

    @property
    def generation(self) -> int:
        """Changes when all that is not confirmed must be published again."""

    @property
    def room(self) -> int:
        """Number of entries that can be published now."""

    def publish(self, entry: Entry) -> int:
        """Publish while there is :attr:`room`, and return the id that the confirmation will have."""

    def confirmations(self) -> list[int]:
        """Ids of what has arrived since the last call. A sink that gathers entries writes them now, all together."""


class ConfiguredSink(Sink, Protocol):
    """One that a ``[[sink]]`` names, besides the broker.

    Attributes:
        problem: why nothing can be published at present, in a sentence with the remedy; empty where it can. Other
            threads read it.
        written: number of entries that were confirmed so far.
        failures: how often entries could not be published.
    """

    problem: str
    written: int
    failures: int

    def close(self) -> None:
        """End in good order."""
