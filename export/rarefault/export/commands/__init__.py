"""The commands that need the exporter."""
