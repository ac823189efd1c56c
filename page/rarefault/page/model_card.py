"""What ``rarefault inspect`` says of a model file, as JSON for the page.

It runs in a process of its own, ``python -m rarefault.page.model_card FILE``: ONNX Runtime takes more memory than
all of the page, and a damaged file harms nobody.
"""

import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from rarefault.runtime.errors import ModelFileError, RarefaultError

#: How long it may take, seconds.
PATIENCE_S = 60.0


class ModelCard(msgspec.Struct, frozen=True):
    """A model file for people.

    Attributes:
        path: the file.
        rows: titles (empty where the one before goes on) and texts.
    """

    path: str
    rows: list[tuple[str, str]]


class ModelCards:
    """The card of one model file, made once for each version of the file.

    Args:
        path: of the model file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int], ModelCard] | None = None

    def card(self) -> ModelCard:
        """The card of the file as it is now; ModelFileError where it cannot be had."""
        with self._lock:
            try:
                stat = self.path.stat()
            except OSError as error:
                raise ModelFileError(f"{self.path}: cannot be read: {error.strerror}; see model.path") from None
            stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
            if self._known is None or self._known[0] != stamp:
                self._known = stamp, self._make()
            return self._known[1]

    def _make(self) -> ModelCard:
        command = [sys.executable, "-m", "rarefault.page.model_card", str(self.path)]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ModelFileError(f"{self.path}: was not read within {PATIENCE_S:g} s") from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").splitlines()
            raise ModelFileError(lines[-1] if lines else f"{self.path}: its reader ended with {done.returncode}")
        return msgspec.json.decode(done.stdout, type=ModelCard)


def main(arguments: list[str]) -> int:
    """Print the card of a model file."""
    from rarefault.runtime.commands.inspection import BATCHES, model_rows, verdict_cost_us
    from rarefault.runtime.inference.model_file import load_model

    try:
        model = load_model(Path(arguments[0]))
    except RarefaultError as error:
        print(error, file=sys.stderr)
        return 1
    rows = list(model_rows(model, 1, {n: verdict_cost_us(model, n) for n in BATCHES}))
    sys.stdout.buffer.write(msgspec.json.encode(ModelCard(str(model.path), rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
