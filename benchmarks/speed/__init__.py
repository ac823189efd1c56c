"""Speed: the daemon beside what one would write by hand, and beside what the machine allows."""
