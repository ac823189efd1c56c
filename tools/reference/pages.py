"""All generated pages by their names in ``docs/reference/``."""

import re
from collections.abc import Callable
from functools import cache

from tools.reference import api, commands, configuration, errors, metrics, payloads, runs

PAGES: dict[str, Callable[[], str]] = {
    "configuration-trainer.md": configuration.trainer_page,
    "configuration-daemon.md": configuration.daemon_page,
    "configuration-simulate.md": configuration.simulation_page,
    "cli.md": commands.page,
    "payloads.md": payloads.payloads_page,
    "metrics.md": metrics.page,
    "manifest.md": payloads.manifest_page,
    "metrics-json.md": runs.page,
    "errors.md": errors.page,
    "api.md": api.page,
}


@cache
def build() -> dict[str, str]:
    """The text of each page."""
    return {name: re.sub(r"\n{3,}", "\n\n", page()).rstrip() + "\n" for name, page in PAGES.items()}
