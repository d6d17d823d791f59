"""The hot path: build requests from rows, send them, and read the answers."""
