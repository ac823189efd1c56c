"""A history in numbers, for people, and what stands in the way of training on it."""
