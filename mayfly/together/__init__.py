"""Together's control plane: one small interface, v2 behind it, v1 beside it."""
