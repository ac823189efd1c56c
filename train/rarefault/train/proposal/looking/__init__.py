"""What is there: files, parts of large ones, tables, and which of them belong together."""
