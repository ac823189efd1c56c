"""From files to columns of numbers, times and names."""
