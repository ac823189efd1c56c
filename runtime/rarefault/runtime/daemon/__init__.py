"""The edge daemon: telemetry in over MQTT, verdicts and alarms out."""
