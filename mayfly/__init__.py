"""Batch inference on Together AI dedicated endpoints that live exactly as long as the batch."""
