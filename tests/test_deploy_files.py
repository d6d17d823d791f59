"""The files in `deploy/`: what can be checked without building or starting anything."""

import json
import re
import shlex
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from importlib.metadata import entry_points, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from mayfly.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
DASK = yaml.safe_load((DEPLOY / "dask-cluster.yaml").read_text())
TEMPLATE = json.loads((DEPLOY / "kubernetes-job-template.json").read_text())

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ARG", "USER", "ENV", "CMD"}
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|AUTH")
PREFECT_COMMANDS = {("worker", "start"), ("server", "start")}
DASK_COMMANDS = {"scheduler", "worker"}
PORTS = {"server": "4200", "worker": "8080", "worker-trial": "8080", "emulator": "8484"}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with what follows each."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def arguments(name: str) -> list[str]:
    """Return the command of a service; of a shell loop, what it repeats."""
    command: list[str] = SERVICES[name]["command"]
    assert all(isinstance(word, str) for word in command)
    if command[:2] == ["sh", "-c"]:
        return shlex.split(command[2].removeprefix("while true; do ").split(";")[0])
    return command


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command that a container starts with, and where it is written."""
    yield from ((f"compose: {name}", arguments(name)) for name in SERVICES)
    yield "Dockerfile", json.loads(dict(instructions())["CMD"])
    yield "kubernetes: sweep", sweep_pod()["containers"][0]["args"]
    for name in sorted(DASK_COMMANDS):
        yield f"dask: {name}", dask_container(name)["args"]


def dask_container(name: str) -> dict[str, Any]:
    """Return the only container of the scheduler's or the workers' pods."""
    (container,) = DASK["spec"][name]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def sweep_pod() -> dict[str, Any]:
    """Return the pod of the CronJob."""
    job = next(one for one in MANIFESTS if one["kind"] == "CronJob")
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


@cache
def template_of_prefect() -> dict[str, Any]:
    """Return the job template of a Kubernetes pool, as Prefect's server has it."""
    # Found, not imported: its import takes seconds.
    prefect = find_spec("prefect")
    assert prefect is not None
    assert prefect.origin is not None
    views = Path(prefect.origin).parent / "server" / "api" / "collections_data" / "views"
    kinds = json.loads((views / "aggregate-worker-metadata.json").read_text())
    template: dict[str, Any] = kinds["prefect-kubernetes"]["kubernetes"][
        "default_base_job_configuration"
    ]
    return template


def test_dockerfile_is_valid_and_ends_as_non_root() -> None:
    found = instructions()

    assert {name for name, _ in found} <= INSTRUCTIONS
    assert [rest.split()[0] for name, rest in found if name == "FROM"] == ["python:3.11-slim"] * 2
    users = [rest for name, rest in found if name == "USER"]
    assert users == ["1000"]
    assert not any(SECRET.search(rest) for name, rest in found if name in {"ENV", "ARG"})


def test_wheel_files_are_in_the_docker_build_context() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}

    assert "*" in ignore
    needed = {"pyproject.toml", "README.md", "LICENSE", "mayfly", "together_emulator"}
    # Links of the package lead to these two.
    assert kept == needed | {"flows", "tasks"}
    assert all((ROOT / name).exists() for name in kept)


def test_image_extras_exist() -> None:
    default = next(rest for name, rest in instructions() if name == "ARG").removeprefix("EXTRAS=")

    assert default in (metadata("mayfly").get_all("Provides-Extra") or [])


@pytest.mark.parametrize(("where", "command"), list(commands()))
def test_container_command_exists(where: str, command: list[str]) -> None:
    program, *rest = command

    assert program in {script.name for script in entry_points(group="console_scripts")}, where
    if program == "mayfly":
        assert rest[0] in {one.name for one in COMMANDS}, where
    elif program == "dask":
        assert rest[0] in DASK_COMMANDS, where
    else:
        assert tuple(rest[:2]) in PREFECT_COMMANDS, where


def test_service_is_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


def test_service_holds_no_secret() -> None:
    secrets = {
        (name, variable): value
        for name, service in SERVICES.items()
        for variable, value in service.get("environment", {}).items()
        if SECRET.search(variable)
    }

    # Null passes the shell's value on; `local` is the emulator's key.
    assert {value for (name, _), value in secrets.items() if name != "worker-trial"} == {None}
    assert {value for (name, _), value in secrets.items() if name == "worker-trial"} <= {
        None,
        "local",
    }


def test_long_running_services_have_a_healthcheck_of_their_port() -> None:
    for name, port in PORTS.items():
        test = SERVICES[name]["healthcheck"]["test"]
        assert test[:3] == ["CMD", "python", "-c"], name
        compile(test[3], name, "exec")
        assert f"127.0.0.1:{port}" in test[3] or f"'127.0.0.1', {port}" in test[3], name
    for name in ("worker", "worker-trial"):
        assert "--with-healthcheck" in arguments(name)


def test_service_dependencies_and_volumes_exist() -> None:
    for name, service in SERVICES.items():
        profiles = set(service.get("profiles", []))
        for other in service.get("depends_on", {}):
            # One without a profile is always there.
            assert set(SERVICES[other].get("profiles", [])) <= profiles, name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).is_dir(), name
    assert SERVICES["worker"]["volumes"] == SERVICES["sweep"]["volumes"], "they share the leases"


def test_emulator_shares_the_loopback_of_its_worker() -> None:
    trial = SERVICES["worker-trial"]

    assert trial["network_mode"] == "service:emulator"
    port = arguments("emulator")[arguments("emulator").index("--port") + 1]
    assert trial["environment"]["TOGETHER_BASE_URL"] == f"http://127.0.0.1:{port}"


def test_dask_cluster_has_the_image_and_the_secret_of_the_sweep() -> None:
    sweep, worker = sweep_pod()["containers"][0], dask_container("worker")
    scheduler, service = dask_container("scheduler"), DASK["spec"]["scheduler"]["service"]
    name, namespace = DASK["metadata"]["name"], DASK["metadata"]["namespace"]

    assert worker["image"] == scheduler["image"] == sweep["image"]
    assert worker["envFrom"] == sweep["envFrom"]
    assert "envFrom" not in scheduler
    assert service["selector"]["dask.org/cluster-name"] == name
    ports = {port["name"] for port in scheduler["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == ports
    # The operator names the service after the cluster.
    how_to = (ROOT / "docs" / "how-to" / "dask.md").read_text()
    assert f"tcp://{name}-scheduler.{namespace}.svc.cluster.local:8786" in how_to


def test_kubernetes_template_is_that_of_prefect_plus_image_secret_volume() -> None:
    ours = deepcopy(TEMPLATE)
    variables = ours["variables"]["properties"]
    job = ours["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    container = pod["containers"][0]

    sweep = sweep_pod()
    assert variables["image"].pop("default") == sweep["containers"][0]["image"]
    for key in ("envFrom", "volumeMounts"):
        assert container.pop(key) == sweep["containers"][0][key]
    for key in ("volumes", "securityContext"):
        assert pod.pop(key) == sweep[key]
    assert variables["namespace"]["default"] == "mayfly"
    variables["namespace"]["default"] = "default"
    # Prefect's has these two in the pod, where Kubernetes drops them; a strict check refuses them.
    pod |= {name: job.pop(name) for name in ("parallelism", "completions")}
    assert ours == template_of_prefect()


def test_kubernetes_job_has_the_fields_and_types_that_its_schema_has() -> None:
    from prefect.utilities.templating import apply_values  # noqa: PLC0415 - takes seconds

    given = {
        name: variable["default"]
        for name, variable in TEMPLATE["variables"]["properties"].items()
        if "default" in variable
    }
    given |= {"finished_job_ttl": 600, "command": ["prefect", "flow-run", "execute"], "name": "a"}
    given |= {"labels": {"a": "b"}, "service_account_name": "mayfly", "env": [], "cpu_limit": "1"}

    job = apply_values(TEMPLATE["job_configuration"]["job_manifest"], given)

    # https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobSpec
    numbers = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 600,
        "parallelism": 1,
        "completions": 1,
    }
    assert isinstance(job, dict)
    assert {name: job["spec"][name] for name in numbers} == numbers
    assert job["spec"].keys() == {*numbers, "template"}
    pod = job["spec"]["template"]["spec"]
    assert pod.keys() <= {
        "containers", "restartPolicy", "securityContext", "serviceAccountName", "volumes",
    }  # fmt: skip
    assert pod["containers"][0].keys() <= {
        "args", "env", "envFrom", "image", "imagePullPolicy", "name", "resources", "volumeMounts",
    }  # fmt: skip


def test_kubernetes_manifests_use_one_namespace_and_hold_no_secret() -> None:
    assert [one["kind"] for one in MANIFESTS] == ["PersistentVolumeClaim", "CronJob"]
    assert {one["metadata"]["namespace"] for one in MANIFESTS} == {"mayfly"}
    claim, _ = MANIFESTS
    pod = sweep_pod()
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert "env" not in pod["containers"][0]
