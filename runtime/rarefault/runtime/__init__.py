"""The edge side of rarefault: time grid, streams, engine, decision, and the daemon around them.

Needs numpy, onnxruntime, paho-mqtt, msgspec and prometheus-client, and imports nothing of the trainer or exporter.
What training and serving must do identically is written here, once, and the trainer calls it.
"""

__version__ = "0.1.0"
