"""The log of faults: its section, its file, and the parts of devices that its events are of."""
