"""From samples to verdicts: manifest, time grid, windows, model, decision. Daemon and trainer both use these."""
