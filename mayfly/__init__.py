"""Batch inference on Together AI dedicated endpoints that live exactly as long as the batch."""

from mayfly.supported import refuse_unsupported

# Before anything is imported that does not exist there.
refuse_unsupported()
