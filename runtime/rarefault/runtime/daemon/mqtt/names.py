"""Names: who the daemon is for the broker, and which session the broker keeps for it.

A host's name is no identity: a container that is made again has another one, and what the broker keeps for its
predecessor would be lost without a word. So the names of a journal's first start are kept in it and used from then on,
unless the configuration gives others. The journal also remembers the session that it had, so that a broker which has
forgotten it, or still has subscriptions of an earlier configuration, is found out.
"""

import msgspec

from rarefault.runtime.daemon.config import EdgeConfig


class Names(msgspec.Struct, frozen=True):
    """Who the daemon is.

    Attributes:
        runtime: name of the daemon in topics.
        client_id: names the session at the broker.
    """

    runtime: str
    client_id: str


class Session(msgspec.Struct, frozen=True):
    """What the broker keeps for a daemon that is away.

    Attributes:
        url: of the broker.
        client_id: names the session.
        filters: topic filters that it is subscribed to.
    """

    url: str
    client_id: str
    filters: tuple[str, ...]


def choose_names(config: EdgeConfig, kept: Names | None) -> Names:
    """The names to use: those of the configuration, else those of the journal, else those that follow from the host's.

    Args:
        config: of the daemon.
        kept: what the journal has, None where it has none.
    """
    own = Names(config.publish.runtime_name, config.client_id)
    if kept is None:
        return own
    return Names(
        own.runtime if config.publish.runtime else kept.runtime,
        own.client_id if config.broker.client_id else kept.client_id,
    )
