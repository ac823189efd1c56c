"""From samples to verdicts: manifest, time grid, windows, model, decision. The trainer uses them, too."""
