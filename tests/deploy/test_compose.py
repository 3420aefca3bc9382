"""docker-compose.yml: by the Compose specification, by Docker's own client where it is there, and by what our processes need."""

import os
import re
import shutil
import subprocess
from typing import Any

import compose_spec
import pytest
import yaml

from interp.domain.lifecycle import Queue
from tests.deploy.house import ROOT, dockerfile_targets, is_setting, parse_command

FILE = ROOT / "docker-compose.yml"
SET = {"POSTGRES_PASSWORD": "secret"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(values: dict[str, str]) -> str:
    """The file with its variables, as Compose puts them in. Raises KeyError for one that must be set and is not."""

    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        return values.get(name) or default if kind == "-" else values[name]

    return VARIABLE.sub(value, FILE.read_text())


def ours() -> dict[str, Any]:
    """The services that run our own images."""
    services: dict[str, Any] = yaml.safe_load(interpolated(SET))["services"]
    return {name: service for name, service in services.items() if "build" in service}


def test_the_file_is_a_compose_file() -> None:
    compose_spec.PyOptions(apply_merge=True).from_yaml(interpolated(SET)).validate()


@pytest.mark.parametrize(("right", "wrong"), [("interval: 5s", "interval: soon"), ("service_healthy", "healthy"), ("ports:", "port:")])
def test_that_check_sees_mistakes(right: str, wrong: str) -> None:
    with pytest.raises(ValueError):
        compose_spec.PyOptions(apply_merge=True).from_yaml(interpolated(SET).replace(right, wrong)).validate()


def test_dockers_own_client_reads_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("there is no `docker compose` here")
    command = [docker, "compose", "-f", str(FILE), "--profile", "*", "config", "--quiet"]
    read = subprocess.run(command, env=os.environ | SET, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr


def test_no_password_has_a_default() -> None:
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        interpolated({})
    assert not re.search(r"(?i)_(key|keys|secret|token|password): *['\"\w]", FILE.read_text())


def test_every_service_can_be_built_and_started() -> None:
    targets = dockerfile_targets()
    for service in ours().values():
        assert service["build"]["target"] in targets
        if "command" in service:
            parse_command(service["command"])
        assert {is_setting(variable) for variable in service["environment"]} == {True}


def test_there_is_a_worker_for_every_queue_on_either_kind_of_machine() -> None:
    for profile in ("cpu", "gpu"):
        running = [service for service in ours().values() if profile in service.get("profiles", [profile])]
        commands = [service.get("command") or ["glossator", "worker", "gpu"] for service in running if service["build"]["target"] != "api"]
        assert {Queue(command[-1]) for command in commands} == set(Queue)


def test_nothing_starts_before_the_tables_are_there() -> None:
    services = ours()
    migrate = services.pop("migrate")
    assert migrate["command"] == ["glossator", "db", "upgrade"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert len(services) == 5
    for service in services.values():
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert service["stop_grace_period"] == "30s"


def test_the_first_key_is_made_by_the_command_of_the_document() -> None:
    """With the API's own image and database, once the tables are there: a service that has no key does not start."""
    line = re.search(r"(?m)^docker compose run --rm api (glossator keys create.*?) *(#.*)?$", (ROOT / "docs" / "deploy.md").read_text())
    assert line is not None
    parse_command(line[1].split())
    api = ours()["api"]
    assert api["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert "GLOSSATOR_ADMIN_KEY" in api["environment"]


def test_nothing_is_open_to_the_network_unless_asked_for() -> None:
    services = yaml.safe_load(interpolated(SET))["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
