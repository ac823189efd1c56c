"""Work in threads and on a cluster."""
