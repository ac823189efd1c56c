"""A configuration for training, proposed from files: the entry point ``files`` of ``rarefault init``."""

from rarefault.runtime.proposal.dialogue import Screen
from rarefault.train.proposal.proposing import propose

__all__ = ["propose", "screen"]


def screen() -> Screen:
    """Where the proposal is shown: the terminal, with colours and tables."""
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.proposal.terminal import RichScreen

    return RichScreen(PlainConsole())
