"""Shapes of telemetry: how a message becomes samples, each with a device, a time and named values.

A shape is a class with the methods of :class:`Shape`, and an entry in :data:`SHAPES`. What the samples hold is checked
by the decoder, alike for every shape.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from rarefault.runtime.daemon.config import TelemetryConfig
from rarefault.runtime.daemon.telemetry.rejections import Reason, RejectionError, quote

#: A sample as the message has it, nothing of it checked: what it calls the device (None where it is not asked for a
#: name), its time (None where there is none), and its values by name. A plain tuple, as one is made for each sample.
RawSample = tuple[Any, Any, Any]


class Shape(Protocol):
    """One way in which messages hold samples."""

    def parse(self, payload: bytes, /) -> list[Any]:
        """The samples of a message, each still in the message's own form. RejectionError where there are none."""

    def sample(self, raw: Any, /) -> RawSample:
        """One of them, taken apart. RejectionError where it has not the shape."""


class JsonObjects:
    """JSON: an object with a time and an object of values, at the paths of the configuration, or an array of such."""

    def __init__(self, config: TelemetryConfig) -> None:
        self._config = config
        self._decoder = msgspec.json.Decoder()

    def parse(self, payload: bytes) -> list[Any]:
        """See :class:`Shape`."""
        try:
            found = self._decoder.decode(payload)
        except RecursionError:
            raise RejectionError(Reason.WRONG_SHAPE, "objects or arrays are nested too deep") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            found = _parse_leniently(payload, error)
        if not isinstance(found, list):
            return [found]
        if not found:
            raise RejectionError(Reason.WRONG_SHAPE, "an empty array")
        return found

    def sample(self, raw: Any) -> RawSample:
        """See :class:`Shape`."""
        config = self._config
        if not isinstance(raw, dict):
            raise RejectionError(Reason.WRONG_SHAPE, f"a sample must be an object, got {quote(raw)}")
        return (
            at_path(raw, config.device) if config.device else None,
            at_path(raw, config.time),
            at_path(raw, config.values) if config.values else raw,
        )


#: By name. Which of them a daemon reads is not configurable as long as there is one.
SHAPES: dict[str, Callable[[TelemetryConfig], Shape]] = {"json": JsonObjects}


def at_path(sample: dict[str, Any], path: str) -> Any:
    """What a path leads to: a key as it stands or, where there is none, keys of nested objects; None where nothing."""
    if path in sample:
        return sample[path]
    value: Any = sample
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _parse_leniently(payload: bytes, error: Exception) -> Any:
    """What Python's own reader makes of bytes that are not JSON.

    Python and others write NaN and Infinity, which JSON does not have. Only the samples that hold them are rejected.
    """
    try:
        text = bytes(payload).decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise RejectionError(Reason.NOT_UTF8, f"byte {wrong.start} is not UTF-8") from None
    try:
        return json.loads(text)
    except RecursionError:
        raise RejectionError(Reason.WRONG_SHAPE, "objects or arrays are nested too deep") from None
    except ValueError:
        raise RejectionError(Reason.NOT_JSON, str(error)) from None
