"""What a run shows of itself: its progress while it goes on, figures and a page at its end."""
