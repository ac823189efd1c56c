"""From a history to labelled windows, and to training, validation and test blocks."""
