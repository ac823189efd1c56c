"""Time, memory and quality of a training on a long simulated history."""
