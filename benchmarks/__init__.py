"""What is claimed about speed and memory, and how to measure it again; see README.md here."""
