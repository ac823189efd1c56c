"""Telemetry as messages: one mapping from topic and payload to samples, for the daemon and for the trainer alike."""
