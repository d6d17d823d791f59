"""The catalogue's wire format: headroom, profiles, benchmarks."""

from typing import Any

from tests.support.emulator_client import EmulatorClient


def catalogue(api: EmulatorClient) -> dict[str, dict[str, Any]]:
    """Return the supported models by name."""
    return {m["name"]: m for m in api.http.get("/v2/supported-models").json()["data"]}


def test_headroom_is_count_bound_or_missing(api: EmulatorClient) -> None:
    hardware = api.http.get("/v2/public/inference-instance-types").json()["data"]
    regions = {
        (kind["name"], region["name"]): region.get("headroom")
        for kind in hardware
        for region in kind["regions"]
    }

    assert regions["1xnvidia-h200-141gb", "us-east-1"] == {"relation": "RELATION_EQ", "value": 2}
    assert regions["1xnvidia-b200-180gb", "us-central-1"] == {"relation": "RELATION_GTE"}
    assert regions["2xnvidia-b200-180gb", "us-central-1"] is None


def test_profile_gpu_name_differs_from_hardware_name(api: EmulatorClient) -> None:
    profiles = [p for m in catalogue(api).values() for p in m["deploymentProfiles"]]
    names = {k["name"] for k in api.http.get("/v2/public/inference-instance-types").json()["data"]}

    assert all(f"{p['gpuCount']}x{p['gpuType']}" not in names for p in profiles)


def test_profile_benchmarks_are_optional_and_context_is_a_string(api: EmulatorClient) -> None:
    found = [
        p["performanceBenchmarks"] for m in catalogue(api).values() for p in m["deploymentProfiles"]
    ]

    assert {} in found
    assert {"decodingSpeedTps", "timeToFirstTokenMs", "maxContextLength"} in map(set, found)
    assert all(isinstance(b["maxContextLength"], str) for b in found if b)
