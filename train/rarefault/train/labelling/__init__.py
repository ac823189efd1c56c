"""Labels for what a journal holds."""
