"""Numbers as people read them."""


def duration(seconds: float | None) -> str:
    """Such as ``12.8 d``, ``45 min``; "" for None."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"


def percent(share: float | None, decimals: int = 2) -> str:
    """Such as ``4.83 %``; "" for None."""
    return "" if share is None else f"{100 * share:.{decimals}f} %"
