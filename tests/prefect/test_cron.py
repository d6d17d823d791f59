"""The locked package versions schedule cron runs; an earlier pair did not."""

import asyncio

import pytest
from prefect.server.schemas.schedules import CronSchedule

from mayfly.orchestration.deployments import DEPLOYMENTS


@pytest.mark.parametrize("timezone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("cron", [each.cron for each in DEPLOYMENTS if each.cron])
def test_cron_schedule_has_upcoming_times(cron: str, timezone: str | None) -> None:
    times = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(3))

    assert len(times) == 3
    assert times == sorted(times)
