"""What tests share beside fixtures: a broker, clients, the daemon and its parts, certificates, small models."""
