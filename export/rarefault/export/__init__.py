"""The exporter: a run directory to one model file.

What a program needs stands here::

    from rarefault.export import export_run
    from rarefault.train import RunDirectory

    export_run(RunDirectory(Path("runs/plant")), Path("plant.onnx"))

Names are loaded when they are first used, so that importing this package loads neither torch nor onnx.
"""

from typing import TYPE_CHECKING

import rarefault.runtime  # noqa: F401 - before any library that would phone home
from rarefault.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from rarefault.export.exporter import Export, export_run
    from rarefault.export.int8_effect import Int8Limits
    from rarefault.runtime.errors import ParityError

__all__ = ["Export", "Int8Limits", "ParityError", "export_run"]

_MODULES = {
    "rarefault.export.exporter": ("Export", "export_run"),
    "rarefault.export.int8_effect": ("Int8Limits",),
    "rarefault.runtime.errors": ("ParityError",),
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
