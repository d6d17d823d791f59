"""Together's control plane: one protocol, implemented for both API generations (v2, v1)."""
