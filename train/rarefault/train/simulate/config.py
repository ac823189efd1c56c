"""What is simulated."""

from datetime import date
from typing import Annotated

import msgspec

from rarefault.runtime.settings import Section

#: The six fault kinds and their causes, by code.
FAULTS = {
    1: "stuck valve",
    2: "sensor drift",
    3: "fouled heat exchanger",
    4: "heating and cooling at once",
    5: "supply too cold",
    6: "lost communication",
}

Proportion = Annotated[float, msgspec.Meta(ge=0, le=0.5)]


def fault_name(code: int) -> str:
    """The name of a fault in histories and results."""
    return f"fault_{code}"


class Proportions(Section, frozen=True, kw_only=True):
    """``[proportions]``: share of time with each fault; the rest is normal.

    The defaults are those of plant 1 of the PHM Society 2015 data challenge.
    """

    fault_1: Proportion = 0.0483
    """Share of time with a stuck valve."""
    fault_2: Proportion = 0.0375
    """Share of time with a drifting sensor."""
    fault_3: Proportion = 0.0339
    """Share of time with a fouled heat exchanger."""
    fault_4: Proportion = 0.0006
    """Share of time with heating and cooling at once."""
    fault_5: Proportion = 0.0065
    """Share of time in which the supply is too cold."""
    fault_6: Proportion = 0.1926
    """Share of time with lost communication."""

    def __post_init__(self) -> None:
        if sum(self.by_code().values()) > 0.6:
            raise ValueError("the proportions of all faults must not exceed 0.6 together, or hardly a day stays normal")

    def by_code(self) -> dict[int, float]:
        """Share of each fault code."""
        return {code: getattr(self, fault_name(code)) for code in FAULTS}


class SimulationConfig(Section, frozen=True, kw_only=True):
    """Simulated plants: how many, how large, and over what time."""

    plants: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    """Number of plants."""
    days: Annotated[int, msgspec.Meta(ge=5, le=3660)] = 120
    """Days of history."""
    components: Annotated[int, msgspec.Meta(ge=1, le=50)] = 3
    """Cooling units of a plant, each with four sensors and four control references."""
    zones: Annotated[int, msgspec.Meta(ge=1, le=20)] = 2
    """Metered zones of a plant. Unit ``i`` draws its power in zone ``i mod zones``."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    """The same seed gives the same files."""
    period_s: Annotated[int, msgspec.Meta(ge=60, le=3600)] = 900
    """Mean time between two samples of a component, seconds."""
    start: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$")] = "2024-01-01"
    """First day, as ``YYYY-MM-DD``."""
    proportions: Proportions = msgspec.field(default_factory=Proportions)
    """Share of time with each fault."""

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.start)
        except ValueError:
            raise ValueError(f"start must be a day such as 2024-01-31, got {self.start!r}") from None
