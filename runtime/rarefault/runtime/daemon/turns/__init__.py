"""A turn brings telemetry to verdicts and keeps both, in memory or in the journal."""
