"""What is claimed about speed and memory, and how to measure it again."""
