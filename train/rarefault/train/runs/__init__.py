"""Training runs from start to end, and what they leave behind."""
