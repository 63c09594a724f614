"""docker-compose.yaml against the compose specification's own schema, and against our rules for it."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from perpflow.embedded.airflow_settings import METADATA_TUNING, pools

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENVIRONMENT_EXAMPLE = (ROOT / ".env.example").read_text()

ONE_SHOT = {"airflow-init"}
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|_CONN\b|_CONN_|DATABASE_URL|TOKEN")
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")


def specification() -> dict[str, Any]:
    """The official schema, as check-jsonschema carries it."""
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return dict(json.loads((folder / "compose-spec.json").read_text()))


def test_the_file_follows_the_compose_specification() -> None:
    schema = specification()
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


def test_the_specification_refuses_what_it_does_not_know() -> None:
    schema = specification()
    broken = {"services": {"redis": {"image": "redis", "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.validators.validator_for(schema)(schema).validate(broken)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_checked_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_checked_or_ends(name: str) -> None:
    for other, terms in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert terms["condition"] == expected


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_bound_to_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_the_environment(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(variable) and not variable.endswith("_FILE"):
            assert REQUIRED.search(value), f"{variable} is given in the file"


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.match(r"\d+\.\d+", tag)


def test_every_required_variable_stands_in_the_example_without_a_value() -> None:
    required = set(REQUIRED.findall(TEXT))
    assert required == set(re.findall(r"^(\w+)=$", ENVIRONMENT_EXAMPLE, re.MULTILINE))


def test_every_optional_variable_stands_in_the_example_with_its_default() -> None:
    optional = set(re.findall(r"\$\{(\w+):-(\w+)\}", TEXT))
    assert optional == set(re.findall(r"^# (\w+)=(\d+)$", ENVIRONMENT_EXAMPLE, re.MULTILINE))


@pytest.mark.parametrize("name", SERVICES)
def test_named_volumes_and_configs_are_declared(name: str) -> None:
    volumes = {volume.partition(":")[0] for volume in SERVICES[name].get("volumes", [])}
    assert {volume for volume in volumes if not volume.startswith(".")} <= set(COMPOSE["volumes"])
    assert {config["source"] for config in SERVICES[name].get("configs", [])} <= set(COMPOSE["configs"])


def test_the_pools_are_those_of_the_embedded_airflow() -> None:
    created = re.findall(r"airflow pools set (\w+) (\d+)", COMPOSE["configs"]["airflow-setup"]["content"])
    assert {name: int(slots) for name, slots in created} == pools()


def test_airflow_s_metadata_is_tuned_as_the_embedded_one_s() -> None:
    assert METADATA_TUNING.items() <= COMPOSE["x-airflow"]["environment"].items()


def test_redis_keeps_what_it_is_given() -> None:
    command = SERVICES["redis"]["command"][-1]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--requirepass" in command


def test_the_image_is_built_from_the_pinned_airflow() -> None:
    locked = re.search(r"^apache-airflow==(.+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert f"FROM apache/airflow:{locked.group(1)}-python3.11" in (ROOT / "Dockerfile").read_text()


def test_the_image_holds_what_the_dockerfile_copies_and_no_more() -> None:
    copied = set(re.findall(r"^COPY --chown=\S+ (\S+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
