"""The trainer: history and fault log to a run directory."""

import rarefault.runtime  # noqa: F401 - before any library that would phone home
