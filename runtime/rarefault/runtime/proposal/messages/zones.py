"""The zone of times without an offset, as far as their arrival shows it."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.proposal.messages.payloads import TimePath

_HOUR_MS = 3_600_000
_HALF_MS = _HOUR_MS // 2
#: Where systems say in which zone they are.
_LOCALTIME = Path("/etc/localtime")


def zone_finding(time: TimePath) -> Finding:
    """The zone in which times are of the moment of their arrival.

    This machine's own where it fits; else the offset as a zone without summer time, which is right today and may be
    wrong in half a year, so that it stays a question.
    """
    halves = round(time.offset_ms / _HALF_MS)
    ahead = f"{abs(halves) / 2:g} h {'ahead of' if halves > 0 else 'behind'} UTC" if halves else "those of UTC"
    evidence = f"times such as {time.example!r} have no offset; when they arrive, they are {ahead}"
    other = 'time_zone = "Europe/Berlin" or another zone with that offset today'
    own = system_zone()
    if own and _offset_ms(own) == halves * _HALF_MS:
        return Finding("time_zone", own, f"{evidence}, which is this machine's zone", other)
    if halves == 0:
        return Finding("time_zone", "UTC", evidence, other)
    if halves % 2:
        return Finding("time_zone", "UTC", f"{evidence}: no zone of whole hours fits", other)
    return Finding("time_zone", f"Etc/GMT{-halves // 2:+d}", evidence, other)


def system_zone() -> str:
    """IANA name of this machine's zone; "" where the system does not say it."""
    try:
        parts = _LOCALTIME.resolve().parts
    except OSError:
        return ""
    at = next((i for i, part in enumerate(parts) if part == "zoneinfo"), None)
    return "/".join(parts[at + 1 :]) if at is not None else ""


def _offset_ms(zone: str) -> int:
    """How far a zone's clocks are ahead of UTC now."""
    now = datetime.now(UTC)
    offset = now.astimezone(ZoneInfo(zone)).utcoffset()
    return round(offset.total_seconds() * 1000) if offset is not None else 0
