"""docker/kubernetes is what a cluster takes, by Kubernetes' own schemas, and fits images and settings."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ehrbench.app.command.cli import build_parser
from tests.repository.conftest import ROOT

FILES = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))
#: The oldest that a cluster may have, and the newest whose schemas are here.
VERSIONS = ("1.30", kubernetes_validate.latest_version())


def documents() -> list[dict[str, Any]]:
    return [one for path in FILES for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def named(kind: str, name: str = "") -> dict[str, Any]:
    (found,) = (d for d in documents() if d["kind"] == kind and d["metadata"]["name"].endswith(name))
    return found


def pods() -> Iterator[dict[str, Any]]:
    for one in documents():
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one.get("spec", {})
        if "template" in spec:
            yield spec["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_takes_it(version: str) -> None:
    for one in documents():
        kubernetes_validate.validate(one, version, strict=True)


def test_another_shape_would_be_noticed() -> None:
    broken = copy.deepcopy(named("Deployment"))
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_images_are_targets_and_volumes_are_claims() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    claims = {d["metadata"]["name"] for d in documents() if d["kind"] == "PersistentVolumeClaim"}
    found = list(pods())
    assert len(found) == 3
    for pod in found:
        (container,) = pod["containers"]
        assert container["image"].removeprefix("ehrbench/").removesuffix(":latest") in targets
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert claims >= {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert pod["securityContext"]["runAsNonRoot"]


def test_settings_are_those_of_the_example() -> None:
    known = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert named("ConfigMap")["data"].keys() <= known


def test_the_server_is_asked_where_it_answers_and_has_time_to_drain() -> None:
    deployment = named("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    options = build_parser().parse_args(["serve", *container["args"]])
    assert (
        options.drain < pod["terminationGracePeriodSeconds"] - 20
    )  # serving.GRACE_S: what requests may take
    probes = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")
    }
    assert probes == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        deployment["selector"]["matchLabels"],
        named("Service")["spec"]["selector"],
        named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert (
        named("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == named("Deployment")["metadata"]["name"]
    )


def test_the_workers_are_an_indexed_job() -> None:
    spec = named("Job", "workers")["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", spec["parallelism"])


def test_files_are_found() -> None:
    assert {path.stem for path in FILES} == {"api", "common", "pipeline", "workers"}
