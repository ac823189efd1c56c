"""A mapping from what messages show: their topics, their payloads, and trials with the reader of the daemon."""
