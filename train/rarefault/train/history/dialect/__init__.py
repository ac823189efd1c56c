"""How files are written: findings from the files themselves, for readers, ``describe`` and proposals."""
