"""Renders our manifests and reads them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ROOT", "Rendered", "render"]

ROOT = Path(__file__).parents[2]
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of one kustomization."""

    name: str
    objects: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> dict[str, Manifest]:
        """All objects of a kind, by name."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    def pods(self) -> dict[str, Manifest]:
        """The pod specifications, by the name of what makes them."""
        return {
            each["metadata"]["name"]: each["spec"]["template"]["spec"]
            for each in self.objects
            if each["kind"] in ("Deployment", "Job", "StatefulSet")
        }

    def config_map(self, base_name: str) -> dict[str, str]:
        """The content of a generated ConfigMap; its name ends with a hash."""
        (found,) = (
            each for name, each in self.of_kind("ConfigMap").items() if _base(name) == base_name
        )
        content: dict[str, str] = found["data"]
        return content

    def environment(self, service: str, *, secret: dict[str, str]) -> dict[str, str]:
        """What the container of a service finds in its environment, with the Secret's content."""
        (container,) = self.pods()[service]["containers"]
        environment: dict[str, str] = {}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                environment |= self.config_map(_base(source["configMapRef"]["name"]))
            elif source["secretRef"]["name"] == "penstock":
                environment |= secret
        return environment | {
            each["name"]: each.get("value", f"{service}-0") for each in container.get("env", ())
        }


def render(folder: str) -> Rendered:
    """`kubectl kustomize` of a folder of the repository."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise RuntimeError("kubectl is not on PATH; install it: the manifests are rendered by it")
    done = subprocess.run(
        [kubectl, "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"kubectl kustomize {folder} failed: {done.stderr}")
    return Rendered(folder, tuple(yaml.safe_load_all(done.stdout)))


def _base(name: str) -> str:
    return name.rsplit("-", 1)[0]
