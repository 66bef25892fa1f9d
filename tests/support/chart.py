"""The Helm chart, rendered."""

import functools
import re
import subprocess
from typing import Any

import yaml

from scripts import helm
from tests.support.processes import ROOT

CHART = ROOT / "deploy/helm/shop"
VALUES = {"default": (), "external": ("ci/external-values.yaml",), "operators": ("ci/operators-values.yaml",)}

Manifest = dict[str, Any]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = helm.find()
    assert program, "helm is missing: scripts/services.py tools"
    return subprocess.run([program, *arguments], cwd=CHART, capture_output=True, text=True, timeout=60)


@functools.cache
def rendered(values: str = "default", *more: str) -> list[Manifest]:
    """What an installation called `shop` consists of, with one of the values files."""
    files = [part for path in VALUES[values] for part in ("--values", path)]
    done = run("template", "shop", ".", "--namespace", "shops", *files, *more)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]


def of_kind(kind: str, manifests: list[Manifest]) -> dict[str, Manifest]:
    """By the name of the process that each is for."""
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in found}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pods' specifications of Deployments and Jobs, by process."""
    found = of_kind("Deployment", manifests) | of_kind("Job", manifests)
    return {name: one["spec"]["template"]["spec"] for name, one in found.items()}


def container(pod: Manifest) -> Manifest:
    (only,) = pod["containers"]
    return dict(only)


def environment(container: Manifest) -> dict[str, str]:
    """Variable by variable, its value, or `SECRET/KEY`."""
    found = {}
    for one in container["env"]:
        assert one["name"] not in found, f"{one['name']} twice"
        reference = one.get("valueFrom", {}).get("secretKeyRef")
        found[one["name"]] = f"{reference['name']}/{reference['key']}" if reference else one["value"]
    return found


def seconds(duration: str) -> int:
    (number,) = re.findall(r"^(\d+)s$", duration)
    return int(number)
