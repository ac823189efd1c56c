"""A history as live telemetry."""
