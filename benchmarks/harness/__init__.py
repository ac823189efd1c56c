"""What several measurements need: machine and commit, a broker, the daemon as a process, clients, a tiny model."""
