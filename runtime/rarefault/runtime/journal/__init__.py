"""The journal: one SQLite file with what the daemon accepted and what it owes. The trainer and 'inspect' read it, too."""
