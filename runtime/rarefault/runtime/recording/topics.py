"""Topics: which messages are recorded, and of how many topics they are."""

from collections.abc import Sequence

from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.topics import MAX_REMEMBERED, MAX_TOPICS, topic_filter


class Wanted:
    """Whether a message is recorded.

    All are that the broker sends, also those whose topic fits no template, as the templates may be mended later. Only
    topics that every fitting mapping ignores are left out, as the daemon leaves them out.

    Args:
        sources: the mappings.
        retained: whether messages that the broker had kept are wanted.
    """

    def __init__(self, sources: Sequence[MappingConfig], *, retained: bool) -> None:
        self._retained = retained
        self._sources = [(source.template, [topic_filter(text) for text in source.ignore_topics]) for source in sources]
        self._all = not any(ignored for _, ignored in self._sources)
        self._by_topic: dict[str, bool] = {}

    def __call__(self, message: Message) -> bool:
        """Whether it is."""
        if message.retained and not self._retained:
            return False
        return self._all or self._of_topic(message.topic)

    def _of_topic(self, topic: str) -> bool:
        found = self._by_topic.get(topic)
        if found is None:
            fitting = [ignored for template, ignored in self._sources if template.matches(topic)]
            found = not fitting or not all(any(p.fullmatch(topic) for p in ignored) for ignored in fitting)
            if len(self._by_topic) >= MAX_TOPICS:
                self._by_topic.clear()
            if len(topic) <= MAX_REMEMBERED:
                self._by_topic[topic] = found
        return found


class TopicCount:
    """Counts different topics, up to a bound."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def add(self, topic: str) -> None:
        """One message."""
        if len(self._seen) < MAX_TOPICS:
            self._seen.add(hash(topic))

    def __str__(self) -> str:
        """The number, with a mark where there may be more."""
        return f"{len(self._seen)}{'+' if len(self._seen) >= MAX_TOPICS else ''}"
