"""The manifests: by the schemas of Kubernetes, by kubectl's own Kustomize where it is there, and by what our processes need."""

import importlib
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from interp.domain.lifecycle import Queue
from tests.deploy.house import ROOT, is_setting, parse_command

FOLDER = ROOT / "deploy" / "kubernetes"
# Kinds of Kubernetes itself, by the module that has their schema; KEDA's own are looked at below.
MODELS = {
    "Namespace": "lightkube.models.core_v1",
    "Service": "lightkube.models.core_v1",
    "Deployment": "lightkube.models.apps_v1",
}
Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    """Those that the kustomization lists."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return [manifest for name in kustomization["resources"] for manifest in yaml.safe_load_all((FOLDER / name).read_text())]


def of_kind(kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests() if manifest["kind"] == kind}


def check(manifest: Manifest) -> None:
    """Raises where a manifest lacks a field, has one of the wrong type, or one that Kubernetes does not know."""
    model = getattr(importlib.import_module(MODELS[manifest["kind"]]), manifest["kind"])
    assert model.from_dict(manifest).to_dict() == manifest


def pods() -> dict[str, Manifest]:
    return {name: manifest["spec"]["template"]["spec"] for name, manifest in of_kind("Deployment").items()}


@pytest.mark.parametrize(
    "manifest", [one for one in manifests() if one["kind"] in MODELS], ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_manifests_fit_the_schema(manifest: Manifest) -> None:
    check(manifest)


def test_that_check_sees_mistakes() -> None:
    manifest = of_kind("Deployment")["api"]
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")
    with pytest.raises(AssertionError):
        check(manifest)


def test_every_file_is_listed() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*listed, "kustomization.yaml"}


def test_kubectl_renders_them() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl here")
    rendered = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, check=False)
    assert rendered.returncode == 0, rendered.stderr
    found = list(yaml.safe_load_all(rendered.stdout))
    assert len(found) == len(manifests()) + 1
    assert not re.findall(r"image: glossator", rendered.stdout), "an image has no registry"
    (settings,) = (one for one in found if one["kind"] == "ConfigMap")
    assert {is_setting(variable) for variable in settings["data"]} == {True}
    names = set(re.findall(r"configMapRef:\s+name: (\S+)", rendered.stdout))
    assert names == {settings["metadata"]["name"]}


def test_there_is_a_deployment_for_every_queue() -> None:
    commands = [container.get("command", ["glossator", "serve", "--no-workers"]) for pod in pods().values() for container in pod["containers"]]
    for command in commands:
        parse_command(command)
    assert {command[-1] for command in commands} == {*Queue, "--no-workers"}


@pytest.mark.parametrize("name", ["api", "worker-llm", "worker-gpu", "upkeep"])
def test_pods_begin_with_the_tables_and_have_few_rights(name: str) -> None:
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"]
    (migrate,) = pod["initContainers"]
    assert migrate["command"] == ["glossator", "db", "upgrade"]
    for container in (migrate, *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert {"secretRef": {"name": "glossator"}} in container["envFrom"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}
    (container,) = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    probes = [container[kind]["httpGet"]["port"] for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in container]
    assert len(probes) == 2
    assert set(probes) <= ports
    assert "limits" in container["resources"]


def test_workers_get_the_time_that_they_need_to_stop() -> None:
    literals = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"][0]["literals"]
    stop = dict(literal.split("=", 1) for literal in literals)["GLOSSATOR_STOP_TIMEOUT_SECONDS"]
    for name in ("worker-llm", "worker-gpu", "upkeep"):
        assert pods()[name]["terminationGracePeriodSeconds"] > float(stop)


def test_autoscaling_asks_for_what_is_measured() -> None:
    """Each scaled deployment by its own queue, and every metric that is named is one of docs/metrics.md."""
    known = set(re.findall(r"(?m)^\| `(glossator_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    assert known
    scaled = of_kind("ScaledObject")
    deployments = of_kind("Deployment")
    assert set(scaled) == {"worker-gpu", "worker-llm"}
    for name, manifest in scaled.items():
        spec = manifest["spec"]
        assert spec["scaleTargetRef"]["name"] in deployments
        assert "replicas" not in deployments[name]["spec"], "two would say how many there are"
        assert 0 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        (trigger,) = spec["triggers"]
        assert trigger["type"] == "prometheus"
        query = trigger["metadata"]["query"]
        assert set(re.findall(r"glossator_\w+", query)) <= known
        assert f'queue="{deployments[name]["spec"]["template"]["spec"]["containers"][0]["command"][-1]}"' in query
        assert float(trigger["metadata"]["threshold"]) > 0


def test_the_api_has_room_for_the_processes_that_read_files() -> None:
    """The kernel ends the whole container where it has not."""
    container = pods()["api"]["containers"][0]
    named = {variable["name"]: int(variable["value"]) for variable in container["env"]}
    limit = container["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    own = 512 << 20
    assert int(limit[:-2]) << 30 >= own + named["GLOSSATOR_PREFLIGHT_PROCESSES"] * named["GLOSSATOR_PREFLIGHT_MEMORY_BYTES"]
