"""The hot path: rows become requests in flight, and answers come back."""
