"""Opening a store: with a journal where the configuration names one, in memory elsewhere."""

from collections.abc import Callable

from rarefault.runtime.daemon.publishing.announcer import Announcer
from rarefault.runtime.daemon.publishing.sinks import routes
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.turns.durable import JournalledTurnStore
from rarefault.runtime.daemon.turns.memory import NewPipeline, TurnStore
from rarefault.runtime.inference.pipeline import Pipeline


def open_store(setup: Setup, alive: Callable[[], object] = lambda: None) -> TurnStore:
    """The store of a daemon.

    Args:
        setup: of the daemon.
        alive: called now and then by what takes long.

    Raises:
        JournalError: the journal cannot be used.
    """
    config = setup.config
    sinks = [route.sink for route in routes(config)]
    parts = new_pipeline(setup), new_announcer(setup), sinks, config.limits.outbox_messages
    if config.journal.path:
        return JournalledTurnStore(config.journal, setup.source.parent, *parts, alive)
    return TurnStore(*parts)


def new_pipeline(setup: Setup) -> NewPipeline:
    """Makes empty pipelines of the setup's model."""
    model = setup.model
    return lambda slots: Pipeline(model.manifest, model.step, model.model_id, slots)


def new_announcer(setup: Setup) -> Announcer:
    """Makes messages by the setup."""
    return Announcer(setup.config.publish.prefix, routes(setup.config), setup.overridden)
