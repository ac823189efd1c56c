"""One module a format of a history."""
