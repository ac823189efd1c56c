"""Reading the daemon's journal for the page: the fleet as it is now, and ranges of the past."""
