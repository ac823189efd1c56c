"""The exporter: a run directory to one model file."""

import rarefault.runtime  # noqa: F401 - before any library that would phone home
