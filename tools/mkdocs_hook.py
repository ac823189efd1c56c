"""MkDocs hook: adds the generated pages to the site (``hooks: [tools/mkdocs_hook.py]`` in ``mkdocs.yml``)."""

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages below ``reference/``, and CONTRIBUTING.md with its links as seen from the site."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # MkDocs loads this file alone
    from tools.reference.pages import build

    for name, text in build().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "contributing.md", content=contributing))
    return files
