"""How much of the time a training may take, and how much of it is over."""
