"""Rules for all tests."""

from hypothesis import settings

# How long an example takes is the machine's affair, and others use it too.
settings.register_profile("mayfly", deadline=None)
settings.load_profile("mayfly")
