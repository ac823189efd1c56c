"""The sentences of a search."""

NO_SEARCH = "the labels come with the samples, so that no log can be shifted against them"
NO_SAMPLES = "not looked for: no device with events has samples over five days"
RARE_SAMPLES = "not looked for: the samples are hours apart"
NO_BORDERS = "not looked for: too few events of one fault begin or end within the samples"
NO_CHANGE = "nothing to be said: the channels change no more where events begin and end than at other times"
_WHY = {
    "as it is": "the log fits the telemetry as it is",
    "sides": (
        "the log fits the telemetry as it is: the starts or the ends of its events are logged early or late, but not "
        "both alike, as they would be by a wrong clock"
    ),
    "slow": (
        "the log fits the telemetry as it is: the channels change most some time after the logged starts and ends, but "
        "begin to change there, as by faults that show slowly"
    ),
}


def fits(why: str) -> str:
    """Why there is no finding."""
    return _WHY[why]


def found(kind: str, offset_s: float, between_s: tuple[float, float], events: int, one_side: str) -> str:
    """The finding, without its mend.

    Args:
        kind: ``zone`` or ``clock``.
        offset_s: to be added to the log, seconds.
        between_s: what fits nearly as well.
        events: that were looked at.
        one_side: ``starts`` or ``ends`` where only these say so.
    """
    late, about = offset_s < 0, "" if kind == "zone" else "about "
    low, high = sorted(abs(edge) for edge in between_s)
    spread = f"{hours_minutes(low)} to {hours_minutes(high)}" if round(low / 60) != round(high / 60) else ""
    evidence = f"{events} events, {spread} fit nearly as well" if spread else f"{events} events"
    return (
        f"the log is {about}{hours_minutes(abs(offset_s))} {'late' if late else 'early'}, {_cause(kind, late=late)}: "
        f"with {offset_s:+g} s the telemetry changes where its events begin and end ({evidence}), clearly more than "
        f"without{_SIDES[one_side]}"
    )


_SIDES = {
    "": "",
    "starts": "; only the starts say so, the ends fit better as they are",
    "ends": "; only the ends say so, the starts fit better as they are, as where a fault is noticed as late",
}


def _cause(kind: str, *, late: bool) -> str:
    if kind == "zone":
        return "as if its times were of another time zone"
    return (
        "by its clock or because events are logged only when they are noticed"
        if late
        else "by its clock or because machines answer only so much later"
    )


def hours_minutes(seconds: float) -> str:
    """Such as ``5 h 30 min``, ``2 h``, ``10 min``."""
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = [f"{hours} h"] if hours else []
    return " ".join([*parts, f"{minutes} min"] if minutes or not parts else parts)
