"""What the daemon shares with its machine: clock, signals, systemd, logs, pages for monitoring."""
