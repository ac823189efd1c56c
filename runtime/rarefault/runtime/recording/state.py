"""State: who the recorder is for the broker, and the session that the broker keeps for it, in a file of the folder.

A host's name is no identity (see :mod:`rarefault.runtime.daemon.mqtt.names`), and a host may record into several
folders. So the names of the first recording stay those of the folder.
"""

import logging
import os
import secrets
from pathlib import Path

import msgspec

from rarefault.runtime.daemon.config import EdgeConfig
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.errors import UsageError
from rarefault.runtime.recording.names import sync_folder

log = logging.getLogger(__name__)

#: The file, which no pattern for recordings matches.
FILE = "recorder.json"


class State(msgspec.Struct, frozen=True):
    """What is kept from start to start.

    Attributes:
        client_id: names the session at the broker.
        session: as the broker has it; None before it has granted the subscription.
    """

    client_id: str
    session: Session | None = None


def read_state(folder: Path) -> State | None:
    """What is kept in a folder; None where nothing is.

    Raises:
        UsageError: the file cannot be read.
    """
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): it names the session that the broker keeps; put its client id into "
            "record.client_id and delete it"
        ) from None


def write_state(folder: Path, state: State) -> None:
    """Keep it; OSError where that fails."""
    path = folder / FILE
    new = path.with_name(f"{FILE}.new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(state) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(folder)


def names_of(config: EdgeConfig, kept: State | None) -> Names:
    """The names to use: those of the configuration, of the folder, or new ones.

    New ones are no other recording's, which the broker may keep messages for.
    """
    own = config.record.client_id
    if kept is None:
        return Names(config.publish.runtime_name, own or f"{config.client_id}-record-{secrets.token_hex(3)}")
    if own and own != kept.client_id:
        log.warning(
            "the client id is %r now and was %r: what the broker has kept for that is not sent to this one; set "
            "record.client_id back to have it",
            own,
            kept.client_id,
        )
    return Names(config.publish.runtime_name, own or kept.client_id)
