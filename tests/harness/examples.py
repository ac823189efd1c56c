"""How many examples of a property hypothesis tries."""

from hypothesis import settings

#: The profile that ``make unit`` names.
UNIT = "unit"
settings.register_profile(UNIT, deadline=None)


def examples(count: int) -> settings:
    """So many examples, without a deadline for each; a sixth of them in ``make unit``."""
    quick = settings.get_current_profile_name() == UNIT
    return settings(max_examples=count // 6 if quick else count, deadline=None)
