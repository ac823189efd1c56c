"""The journal: one SQLite file with what the daemon accepted and what it owes. The trainer reads it, too."""
