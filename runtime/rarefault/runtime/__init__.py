"""The edge side of rarefault: time grid, streams, engine, decision, and the daemon around them.

Needs numpy, onnxruntime, paho-mqtt, msgspec and prometheus-client, and imports nothing of the trainer or exporter.
What training and serving must do identically is written here, once, and the trainer calls it.

Nothing phones home: importing this package switches off what ONNX Runtime (a device id under the home directory, and
posts to mobile.events.data.microsoft.com) and Ray (its usage statistics) do unasked. The other portions import it
before anything else, as the libraries read these variables once, when they are loaded.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

__version__ = "0.1.0"
