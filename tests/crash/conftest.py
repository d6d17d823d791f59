"""The crash tests run on the pipeline's stage."""

from tests.runs.conftest import launcher, prefect_api_url

__all__ = ["launcher", "prefect_api_url"]
