"""The Helm chart, rendered and linted by Helm's own code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from moduai import __version__, settings
from moduai.gateway.metrics import WAIT_EXPECTED
from tests.deploy.front import DEPLOY

CHART = DEPLOY / "helm" / "modu"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
PROXIES = ["10.244.1.0/24"]
ALL = {
    "keda": {"enabled": True},
    "serviceMonitor": {"enabled": True, "networks": ["10.244.2.0/24"], "labels": {"release": "prometheus"}},
}
HELM = """
import json, sys, helm_python
chart, values = sys.argv[1], json.loads(sys.argv[2])
said = {"lint": helm_python.lint(chart)}
with helm_python.Chart.load(chart) as loaded:
    try:
        loaded.validate_schema(values)
        said["made"] = loaded.render(values, name="modu", namespace="public")
    except helm_python.HelmError as error:
        said["refused"] = str(error)
print(json.dumps(said))
"""

pytestmark = pytest.mark.skipif(
    find_spec("helm_python") is None, reason="helm-python-sdk has wheels for Linux x86_64 here"
)


def helm(**values: Any) -> dict[str, Any]:
    """What Helm says, in a process of its own: its code is Go's, with threads of its own."""
    command = [sys.executable, "-c", HELM, str(CHART), json.dumps({"proxies": PROXIES, **values})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def objects(**values: Any) -> dict[str, dict[str, Any]]:
    """What a cluster is given, by kind and name."""
    made = helm(**values)["made"]
    texts = [text for name, text in made.items() if name.endswith(".yaml")]
    found = [one for text in texts for one in yaml.safe_load_all(text) if one]
    named = {f"{one['kind']} {one['metadata']['name']}": one for one in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def whole() -> dict[str, dict[str, Any]]:
    return objects(**ALL)


def pods(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: one["spec"]["template"]["spec"] for name, one in found.items() if "template" in one["spec"]}


def test_helm_finds_no_fault() -> None:
    found = helm(**ALL)["lint"]
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == __version__


def test_by_default_there_is_what_every_cluster_has() -> None:
    assert {one["apiVersion"] for one in objects().values()} == {
        "apps/v1",
        "v1",
        "policy/v1",
        "networking.k8s.io/v1",
    }


def test_every_value_is_used_and_every_used_value_is_there() -> None:
    text = "".join(file.read_text("utf-8") for file in (CHART / "templates").iterdir())
    used = {tuple(found.split(".")) for found in re.findall(r"\.Values\.([\w.]+)", text)}
    assert used == set(_leaves(VALUES, used))


def _leaves(tree: dict[str, Any], used: set[tuple[str, ...]], *above: str) -> list[tuple[str, ...]]:
    leaves: list[tuple[str, ...]] = []
    for name, value in tree.items():
        path = (*above, name)
        leaves += [path] if path in used or not isinstance(value, dict) else _leaves(value, used, *path)
    return leaves


def test_pods_may_do_nothing_that_they_need_not(whole: dict[str, dict[str, Any]]) -> None:
    """Kubernetes' "restricted" standard, and a file system that cannot be written."""
    assert set(pods(whole)) == {"StatefulSet modu-gateway", "Deployment modu-dispatcher"}
    for pod in pods(whole).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a service named modu would look like settings"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["initContainers"], *pod["containers"]):
            allowed = container["securityContext"]
            assert allowed["capabilities"] == {"drop": ["ALL"]}
            assert allowed["readOnlyRootFilesystem"] is True
            assert allowed["allowPrivilegeEscalation"] is False


def test_pods_are_given_settings_that_there_are(whole: dict[str, dict[str, Any]]) -> None:
    secret = {"DATABASE_URL": "postgresql+asyncpg://p/modu", "CELLS_LEASE": "redis://v/0"}
    for pod in pods(whole).values():
        given = {}
        for one in pod["containers"][0]["env"]:
            source = one.get("valueFrom", {})
            value = (
                secret[source["secretKeyRef"]["key"]]
                if "secretKeyRef" in source
                else one.get("value", "10.0.0.9")
            )
            given[one["name"]] = re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], value)  # noqa: B023
        loaded = settings.load(
            Path("/nowhere"), {name: value for name, value in given.items() if name != "POD_IP"}
        )
        assert loaded.shared_line
        assert loaded.settings.gateway.allowed_hosts == ("modu.example.org", "10.0.0.9")
        assert loaded.settings.gateway.behind_proxy == tuple(PROXIES)
        assert loaded.settings.gateway.scraped_by == ("10.244.2.0/24",)


def test_selectors_and_names_meet(whole: dict[str, dict[str, Any]]) -> None:
    for name in ("StatefulSet modu-gateway", "Deployment modu-dispatcher"):
        spec = whole[name]["spec"]
        labels = spec["template"]["metadata"]["labels"].items()
        component = name.partition(" ")[2]
        assert spec["selector"]["matchLabels"].items() <= labels
        assert whole[f"PodDisruptionBudget {component}"]["spec"]["selector"]["matchLabels"].items() <= labels
        assert whole[f"NetworkPolicy {component}"]["spec"]["podSelector"]["matchLabels"].items() <= labels
        pod = spec["template"]["spec"]
        volumes = {one["name"] for one in pod["volumes"]}
        volumes |= {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", ())}
        assert {one["name"] for one in pod["containers"][0]["volumeMounts"]} == volumes
    service = whole["Service modu-gateway"]
    gateway = whole["StatefulSet modu-gateway"]["spec"]["template"]["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= gateway
    assert (
        whole["ServiceMonitor modu"]["spec"]["selector"]["matchLabels"].items()
        <= service["metadata"]["labels"].items()
    )
    path = whole["Ingress modu"]["spec"]["rules"][0]["http"]["paths"][0]
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]


def test_a_pod_has_the_time_that_draining_takes() -> None:
    pod = pods(objects(leaveSeconds=10, drainSeconds=120))["StatefulSet modu-gateway"]
    assert pod["terminationGracePeriodSeconds"] == 185
    given = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert (given["MODU_GATEWAY__LEAVE_S"], given["MODU_GATEWAY__DRAIN_S"]) == ("10", "120")


def test_scaling_goes_by_the_line_s_wait(whole: dict[str, dict[str, Any]]) -> None:
    (trigger,) = whole["ScaledObject modu-engines"]["spec"]["triggers"]
    assert trigger["metadata"]["query"] == f'max({WAIT_EXPECTED.name}{{model="qwen3-8b"}})'
    assert trigger["metadata"]["threshold"] == "20"
    assert trigger["metadata"]["ignoreNullValues"] == "false", "no engine is not the same as no wait"
    assert trigger["metricType"] == "Value", "a wait is no sum that more engines would share"


def test_values_that_make_no_sense_are_refused() -> None:
    digest = f"sha256:{'a' * 64}"
    image = pods(objects(image={"digest": digest}))["Deployment modu-dispatcher"]["containers"][0]["image"]
    assert image == f"registry.example.org/modu@{digest}"
    for wrong in (
        {"gateway": {}},
        {"gateways": {"replicas": 0}},
        {"image": {"digest": "latest"}},
        {"proxies": []},
        {"serviceMonitor": {"enabled": True}},
        {"networkPolicy": {"from": []}},
        {"networkPolicy": {"from": [{}]}},
        {"keda": {"minReplicas": 0}},
    ):
        assert "refused" in helm(**wrong), wrong
