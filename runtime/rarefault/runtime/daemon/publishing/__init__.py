"""What leaves the daemon: the payloads, and the outbox that keeps them until they are confirmed."""
