"""The edge side of rarefault: models, the pipeline from samples to verdicts, and the daemon around it.

What a program needs to embed a model stands here::

    from rarefault.runtime import load_model

    pipeline = load_model("plant.onnx").pipeline()
    for device, time, values in source():
        verdicts, alarms = pipeline.push_sample(device, time, values)

It needs numpy, onnxruntime, paho-mqtt, msgspec and prometheus-client, and imports nothing of the trainer or exporter.
What training and serving must do identically is written here, once, and the trainer calls it. Names are loaded when
they are first used, so that importing this package stays quick.

Nothing phones home: importing this package switches off what ONNX Runtime (a device id under the home directory, and
posts to mobile.events.data.microsoft.com) and Ray (its usage statistics) do unasked. The other portions import it
before anything else, as the libraries read these variables once, when they are loaded.
"""

import os
from typing import TYPE_CHECKING

from rarefault.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from rarefault.runtime.errors import ConfigError, ModelFileError, RarefaultError, SampleError, UsageError
    from rarefault.runtime.inference.embedding import Alarm, Outcome, Verdict
    from rarefault.runtime.inference.manifest import DecisionSpec, Derived, GridSpec, Manifest, WindowSpec
    from rarefault.runtime.inference.model_file import LoadedModel, load_model
    from rarefault.runtime.inference.pipeline import Pipeline, Verdicts
    from rarefault.runtime.times import format_ms, parse_time_ms

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

__version__ = "0.1.0"

__all__ = [
    "Alarm",
    "ConfigError",
    "DecisionSpec",
    "Derived",
    "GridSpec",
    "LoadedModel",
    "Manifest",
    "ModelFileError",
    "Outcome",
    "Pipeline",
    "RarefaultError",
    "SampleError",
    "UsageError",
    "Verdict",
    "Verdicts",
    "WindowSpec",
    "__version__",
    "format_ms",
    "load_model",
    "parse_time_ms",
]

_MODULES = {
    "rarefault.runtime.errors": ("ConfigError", "ModelFileError", "RarefaultError", "SampleError", "UsageError"),
    "rarefault.runtime.inference.embedding": ("Alarm", "Outcome", "Verdict"),
    "rarefault.runtime.inference.manifest": ("DecisionSpec", "Derived", "GridSpec", "Manifest", "WindowSpec"),
    "rarefault.runtime.inference.model_file": ("LoadedModel", "load_model"),
    "rarefault.runtime.inference.pipeline": ("Pipeline", "Verdicts"),
    "rarefault.runtime.times": ("format_ms", "parse_time_ms"),
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
