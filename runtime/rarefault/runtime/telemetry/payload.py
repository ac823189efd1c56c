"""The bytes of a message: compression, marks around the text, and JSON as it is really written."""

import json
import zlib
from typing import Any, Literal

import msgspec

from rarefault.runtime.telemetry.reasons import Reason, RejectionError

Compression = Literal["auto", "gzip", "zlib", "none"]

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
#: Bits of the window, which also tell zlib which header to expect.
_WINDOW = {"gzip": 31, "zlib": 15}
#: First byte of an object or an array in JSON.
BEGINS_OF_JSON = frozenset({b"{", b"["})

_decoder = msgspec.json.Decoder()


def check_size(payload: bytes, limit: int) -> None:
    """RejectionError for more bytes than the limit."""
    if len(payload) > limit:
        raise RejectionError(Reason.TOO_LARGE, f"{len(payload)} bytes, the limit is {limit}")


def unpack(payload: bytes, compression: Compression, limit: int) -> bytes:
    """The text of a message: inflated, without byte order mark, NUL bytes at the end and blanks around it.

    Args:
        payload: as it was received.
        compression: how it is compressed; ``auto`` sees for itself.
        limit: most bytes, compressed or not.

    Raises:
        RejectionError: it is too large, or cannot be inflated.
    """
    check_size(payload, limit)
    if compression == "auto":
        kind = _kind(payload)
        if kind == "zlib":
            try:
                payload = _inflate(payload, kind, limit)
            except RejectionError as error:
                if error.reason == Reason.TOO_LARGE:
                    raise  # else it is text that begins alike
        elif kind is not None:
            payload = _inflate(payload, kind, limit)
    elif compression != "none":
        payload = _inflate(payload, compression, limit) if payload else payload
    return payload.removeprefix(_BOM).rstrip(b"\0 \t\r\n").lstrip(b" \t\r\n")


def parse_json(payload: bytes) -> list[Any]:
    """The values that JSON text holds: one, the items of an array, or one on each line.

    NaN and Infinity, which JSON does not have and many write, are read. A line that is no JSON is a
    :class:`RejectionError` among the values, so that the others count.

    Raises:
        RejectionError: nothing of it is JSON.
    """
    try:
        found = _decoder.decode(payload)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        if payload.endswith(b"\0"):
            return parse_json(payload.rstrip(b"\0 \t\r\n"))
        found = _lines(payload)
        return _leniently(payload, str(error)) if found is None else found
    return found if type(found) is list else [found]


def parse_text(payload: bytes) -> str:
    """UTF-8 text; RejectionError where it is none."""
    try:
        return bytes(payload).decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise RejectionError(Reason.NOT_UTF8, f"byte {wrong.start} is not UTF-8") from None


def _kind(payload: bytes) -> Literal["gzip", "zlib"] | None:
    if payload.startswith(_GZIP):
        return "gzip"
    header = payload[:2]
    return "zlib" if len(header) == 2 and header[0] == 0x78 and int.from_bytes(header, "big") % 31 == 0 else None


def _inflate(payload: bytes, kind: Literal["gzip", "zlib"], limit: int) -> bytes:
    """Inflated by no more than a limit, whatever the bytes say; a gzip file may have several members."""
    parts: list[bytes] = []
    left, size = payload, 0
    while left:
        inflater = zlib.decompressobj(_WINDOW[kind])
        try:
            part = inflater.decompress(left, limit - size + 1)
        except zlib.error as error:
            if parts and not left.strip(b"\0"):
                break  # padding
            raise RejectionError(Reason.BAD_COMPRESSION, f"not {kind}: {error}") from None
        size += len(part)
        if size > limit:
            raise RejectionError(Reason.TOO_LARGE, f"more than {limit} bytes once inflated")
        if not inflater.eof:
            raise RejectionError(Reason.BAD_COMPRESSION, f"the {kind} data ends too early")
        parts.append(part)
        left = inflater.unused_data if kind == "gzip" else b""
    return b"".join(parts)


def _lines(payload: bytes) -> list[Any] | None:
    """The values of all lines, None where one of them is no JSON or there is only one."""
    if b"\n" not in payload:
        return None
    try:
        found = _decoder.decode_lines(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _flat(found)


def _flat(values: list[Any]) -> list[Any]:
    """The values, and the items of those that are arrays."""
    return [item for value in values for item in (value if type(value) is list else [value])]


def _leniently(payload: bytes, problem: str) -> list[Any]:
    """What Python's own reader makes of bytes that are not JSON, as a whole or line by line."""
    text = parse_text(payload)
    try:
        found = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip("\0 \t")]
        values: list[Any] = [_line(line) for line in lines] if len(lines) > 1 else []
        if not any(type(value) is dict or type(value) is list for value in values):
            raise RejectionError(Reason.NOT_JSON, problem) from None
        return _flat(values)
    return found if type(found) is list else [found]


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        return _too_deep()
    except ValueError as error:
        return RejectionError(Reason.NOT_JSON, f"a line: {error}")


def _too_deep() -> RejectionError:
    return RejectionError(Reason.WRONG_SHAPE, "objects or arrays are nested too deep")
