"""The manifests are valid Kubernetes, carry working settings, and keep our rules for pods."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from gateway.model_names import known_models
from llm_worker.providers_file import load_providers
from penstock_kit.settings import load_settings
from penstock_kit.tasks import load_tasks

from docs.render_settings import SERVICES, settings_class
from tests.support.kubernetes import ROOT, Rendered, render

FOLDERS = ("k8s/base", "k8s/local")
SECRET = {
    "PENSTOCK_REDIS__URL": "redis://redis:6379/0",
    "PENSTOCK_AUTH__ID_SECRET": "0123456789abcdef0123456789abcdef",
}
_ADMIN_PORT = 9100
_CORES_OF_A_SMALL_NODE_M = 2000


@pytest.fixture(scope="module", params=FOLDERS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(request.param)


@pytest.fixture(scope="module")
def local() -> Rendered:
    return render("k8s/local")


def test_every_object_is_valid(rendered: Rendered) -> None:
    for each in rendered.objects:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_every_object_is_in_the_namespace(rendered: Rendered) -> None:
    outside = [
        each["kind"] for each in rendered.objects if each["metadata"].get("namespace") != "penstock"
    ]

    assert outside == ["Namespace"]


@pytest.mark.parametrize("service", SERVICES)
def test_service_reads_its_settings_from_config_map_and_secret(
    rendered: Rendered, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rendered.environment(service, secret=SECRET).items():
        monkeypatch.setenv(name, value)

    settings = load_settings(settings_class(service))

    assert settings.instance == f"{service}-0"
    assert settings.admin.port == _ADMIN_PORT
    assert (settings.admin.host, settings.auth.verify_producers) == ("0.0.0.0", True)  # noqa: S104 - probes come from outside the pod


def test_least_number_of_gateways_is_that_of_the_scaler(rendered: Rendered) -> None:
    environment = rendered.environment("gateway", secret=SECRET)
    scaler = rendered.of_kind("HorizontalPodAutoscaler")["gateway"]["spec"]

    assert int(environment["PENSTOCK_GATEWAY__GATEWAYS"]) == scaler["minReplicas"]


def test_settings_of_containers_are_those_that_no_overlay_needs_to_change(
    rendered: Rendered,
) -> None:
    """A container's own `env` wins over the ConfigMap, where overlays set what is theirs."""
    own = {
        each["name"]
        for pod in rendered.pods().values()
        for container in pod["containers"]
        for each in container.get("env", ())
    }

    assert own == {
        "PENSTOCK_INSTANCE",
        "PENSTOCK_GRACE_PERIOD",
        "PENSTOCK_DRAIN_TIMEOUT",
        "PENSTOCK_CLIENT__GATEWAY",
        "PENSTOCK_CLIENT__NOTIFIER",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_drain_fits_into_the_grace_period(rendered: Rendered, service: str) -> None:
    pod = rendered.pods()[service]
    environment = rendered.environment(service, secret=SECRET)
    pre_stop = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    slept = pre_stop.get("sleep", {}).get("seconds", 0)

    granted = _seconds(environment["PENSTOCK_GRACE_PERIOD"])

    assert slept + granted <= pod["terminationGracePeriodSeconds"]
    assert _seconds(environment["PENSTOCK_DRAIN_TIMEOUT"]) < granted


def test_drain_of_llm_worker_outlasts_the_longest_call(rendered: Rendered, tmp_path: Path) -> None:
    environment = rendered.environment("llm-worker", secret=SECRET)
    tasks = load_tasks(_written(rendered, "tasks.yaml", tmp_path))
    kinds = [tasks.get(name) for name in tasks.tasks_of_group("llm-worker")]
    longest = max(task.timeout for task in kinds if task is not None)

    assert timedelta(seconds=_seconds(environment["PENSTOCK_DRAIN_TIMEOUT"])) > longest


def test_providers_file_is_read_by_llm_worker_and_gateway(
    rendered: Rendered, tmp_path: Path
) -> None:
    path = _written(rendered, "providers.yaml", tmp_path)

    providers = load_providers(path, environ={"OPENAI_API_KEY": "key"})

    assert known_models(None, providers_file=path) == frozenset(providers.models)


def test_pods_are_restricted(rendered: Rendered) -> None:
    (namespace,) = rendered.of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in rendered.pods().items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


def test_pods_have_requests_limits_and_a_writable_tmp(rendered: Rendered) -> None:
    for name, pod in rendered.pods().items():
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert container["imagePullPolicy"] == "IfNotPresent", name
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name


def test_volumes_and_mounts_belong_together(rendered: Rendered) -> None:
    claims = rendered.of_kind("PersistentVolumeClaim")
    maps = rendered.of_kind("ConfigMap")
    for name, pod in rendered.pods().items():
        volumes = {each["name"]: each for each in pod["volumes"]}
        mounted = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
        assert mounted == set(volumes), name
        for volume in volumes.values():
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
            assert volume.get("configMap", {}).get("name") in {None, *maps}


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_probed_on_its_admin_port(rendered: Rendered, service: str) -> None:
    (container,) = rendered.pods()[service]["containers"]
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if container[probe]["httpGet"]["port"] == "admin"
    }

    assert {"name": "admin", "containerPort": _ADMIN_PORT} in container["ports"]
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_service_scales_spreads_and_may_be_disrupted(rendered: Rendered, service: str) -> None:
    deployment = rendered.of_kind("Deployment")[service]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    scaler = rendered.of_kind("HorizontalPodAutoscaler")[service]["spec"]
    budget = rendered.of_kind("PodDisruptionBudget")[service]["spec"]

    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"]["name"] == service
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert budget["maxUnavailable"] == 1
    assert _selects(budget["selector"], labels)
    for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert _selects(spread["labelSelector"], labels)


@pytest.mark.parametrize("service", ["gateway", "notifier"])
def test_door_waits_until_endpoints_forget_it(rendered: Rendered, service: str) -> None:
    (container,) = rendered.pods()[service]["containers"]

    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
    assert rendered.of_kind("Service")[service]["spec"]["ports"][0]["targetPort"] == "http"


def test_network_is_closed_but_for_what_is_named(rendered: Rendered) -> None:
    policies = rendered.of_kind("NetworkPolicy")
    assert policies["default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    from_anywhere = {
        port["port"]
        for policy in policies.values()
        for rule in policy["spec"].get("ingress", ())
        if "from" not in rule
        for port in rule["ports"]
    }
    to_anywhere = {
        name
        for name, policy in policies.items()
        for rule in policy["spec"].get("egress", ())
        if any("ipBlock" in peer for peer in rule.get("to", ()))
    }

    assert from_anywhere == {"http"}
    assert to_anywhere == {"providers-and-blobs", "webhooks"}


def test_admin_port_is_in_no_service(rendered: Rendered) -> None:
    for name, service in rendered.of_kind("Service").items():
        ports = {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]}
        assert not ports & {"admin", _ADMIN_PORT}, name


def test_secrets_are_named_and_never_committed(rendered: Rendered) -> None:
    assert rendered.of_kind("Secret") == {}
    named = {
        source["secretRef"]["name"]
        for pod in rendered.pods().values()
        for container in pod["containers"]
        for source in container.get("envFrom", ())
        if "secretRef" in source
    }
    readme = (ROOT / "k8s/README.md").read_text()

    assert named == {"penstock", "penstock-providers", "penstock-blobs"}
    assert all(f"secret generic {name} " in readme for name in named)


def test_topics_are_applied_by_a_job(rendered: Rendered) -> None:
    (container,) = rendered.pods()["topics"]["containers"]

    assert container["args"][:2] == ["topics", "apply"]
    assert not any("replication" in arg for arg in container["args"]), "the toolbox has no such arg"


@pytest.mark.parametrize("command", ["topics", "toolbox"])
def test_topics_get_the_copies_of_the_config_map(rendered: Rendered, command: str) -> None:
    environment = rendered.environment(command, secret=SECRET)

    copies = 3 if rendered.name == "k8s/base" else 1
    assert environment["PENSTOCK_KAFKA__REPLICATION"] == str(copies)


def test_local_overlay_fits_on_two_cores_during_a_rollout(local: Rendered) -> None:
    requested = 0
    for name, deployment in local.of_kind("Deployment").items():
        spec = deployment["spec"]
        scaler = local.of_kind("HorizontalPodAutoscaler").get(name)
        least = scaler["spec"]["minReplicas"] if scaler else spec["replicas"]
        surge = 0 if spec.get("strategy", {}).get("type") == "Recreate" or least == 0 else 1
        requested += (least + surge) * _millicores(spec["template"]["spec"])
    requested += _millicores(local.pods()["topics"])

    assert requested <= 0.8 * _CORES_OF_A_SMALL_NODE_M


def test_local_overlay_takes_images_built_here(local: Rendered) -> None:
    images = {each["image"] for pod in local.pods().values() for each in pod["containers"]}

    assert all(re.fullmatch(r"localhost/penstock[a-z-]*:dev", image) for image in images)
    assert len(images) == len(SERVICES) + 2


def test_local_embedder_owns_its_folder(local: Rendered) -> None:
    embedder = local.of_kind("Deployment")["embedder"]["spec"]

    assert embedder["strategy"] == {"type": "Recreate"}
    assert local.of_kind("HorizontalPodAutoscaler")["embedder"]["spec"]["maxReplicas"] == 1


def _written(rendered: Rendered, name: str, folder: Path) -> Path:
    path = folder / name
    text = rendered.config_map("penstock-files")[name]
    assert yaml.safe_load(text)
    path.write_text(text)
    return path


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted: dict[str, str] = selector["matchLabels"]
    return wanted.items() <= labels.items()


def _millicores(pod: dict[str, Any]) -> int:
    cpus = (container["resources"]["requests"]["cpu"] for container in pod["containers"])
    return sum(int(cpu.removesuffix("m")) for cpu in cpus)


def _seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])
