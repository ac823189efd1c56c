"""``python -m tools.reference FOLDER``: write the pages into a folder."""

import argparse
from pathlib import Path

from tools.reference.pages import build

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write; made if it is not there")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in build().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
