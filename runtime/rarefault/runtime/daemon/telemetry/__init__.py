"""What comes in: payloads to samples, and everything that can be wrong with them."""
