"""Rules for all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair, and others use it too.
settings.register_profile("mayfly", deadline=None)
settings.load_profile("mayfly")


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """Take back what a test's command put into this process's environment.

    `mayfly` sets variables for the Prefect it is about to import; the processes that a later test
    starts would inherit them.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
