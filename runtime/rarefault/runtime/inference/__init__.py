"""From samples to verdicts: the manifest, the time grid, the windows, the model, the decision. The trainer uses them, too."""
