"""Pipeline: ``ehrbench pipeline run``: search → register → gate → load test → approve → deploy.

A composition of what the single commands do, and nothing else. There is no state of its own to be lost or
believed: each step asks the run's folder, the registry or the served folder whether it is done, so the same
command goes on where it was stopped, by a fault, a refusal or a hand that is waited for. A deployed bundle
is always one that the gate approved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ehrbench.app.command.load_testing import check_load
from ehrbench.app.command.trial_server import serving
from ehrbench.app.composed.blocks import Settings
from ehrbench.app.composed.checking import check, recorded
from ehrbench.app.composed.console import command, line, shown, terminal
from ehrbench.app.composed.pipeline_settings import PipelineSettings, pipeline_settings
from ehrbench.app.runs.finished import ledger_of
from ehrbench.app.runs.gating import judge_release
from ehrbench.app.runs.releasing import deploy, named, open_registry, register, registry_address, tell
from ehrbench.app.runs.sealing import check_seal
from ehrbench.app.search import searching
from ehrbench.app.search.trackers import identity
from ehrbench.app.wired.wiring import wire
from ehrbench.core.files import CHECKSUMS, replacing
from ehrbench.core.run_folder import CONFIG, SUMMARY, RunFolder
from ehrbench.infra.mlflow_tree import MlflowTree
from ehrbench.registry.promotion import promote
from ehrbench.registry.release import (
    AGAINST,
    CHALLENGER,
    CHAMPION,
    DIGEST,
    NotApproved,
    Registry,
    Release,
    pointed,
)
from ehrbench.runtime.bundle import Bundle

#: What a server of the folder is started with; a change is seen by it.
DEPLOYMENTS = "deployments.yaml"


def run_pipeline(config: Mapping[str, Any]) -> None:
    """From a composed ``conf/pipeline.yaml`` to a served bundle; NotApproved where the gate refuses."""
    settings, search = pipeline_settings(config)
    checked = check(search)
    folder = searching.folder_of(search)
    mlflow = checked.tracker.mlflow
    where = (None if mlflow is None else mlflow.uri), Path(checked.runs_dir)
    registry = open_registry(*where)
    experiment = f"ehrbench-{checked.task.name}" if mlflow is None else mlflow.experiment
    tree = MlflowTree(registry_address(*where), experiment, folder.name)
    with tree.step("search") as tags:
        if not _is_searched(checked, folder):
            searching.search(search)
        run = RunFolder.open(folder)
        if (ledger := ledger_of(run)) is not None:
            tree.adopt(identity(ledger, run.name))
        tags["run"] = str(run.path)
        print(line("searched", shown(run.path)))
    _Release(settings, registry, tree).of(run)


class _Release:
    """What is made of a finished run, step by step."""

    def __init__(self, settings: PipelineSettings, registry: Registry, tree: MlflowTree) -> None:
        self._settings, self._registry, self._tree = settings, registry, tree
        self._served = Path(settings.served)

    def of(self, run: RunFolder) -> None:
        release = self._registered(run)
        self._gate(release)
        self._load_test(release, run)
        if not self._approve(release):
            approved = command("ehrbench", "registry", "promote", str(release))
            print(line("waits", f"for a hand: {approved}; then the same command again"))
            self._tree.finish({"release": str(release), "waits": "for approval by hand"})
            return
        with self._tree.step("deploy") as tags:
            deploy(self._registry, release.name, release.version, self._served)
            self._plan({})
            tags["place"] = str(self._served / CHAMPION)
            print(line("served", f"{release} as {shown(self._served / CHAMPION)}"))
        self._tree.finish({"release": str(release)})

    def _registered(self, run: RunFolder) -> Release:
        settings = self._settings
        with self._tree.step("register") as tags:
            bundle = Bundle.load(run.bundle)
            name = named(bundle, settings.problem, settings.kind, settings.features)
            found = [r for r in self._registry.releases(name) if r.tags.get(DIGEST) == bundle.digest]
            if found:
                release = found[-1]
            else:
                release = register(
                    self._registry, run.path, settings.problem, settings.kind, settings.features
                )
            tags["release"] = str(release)
            print(line("registered", release))
            return release

    def _gate(self, release: Release) -> None:
        """Judge it, unless it is approved against the champion of now, or is that."""
        with self._tree.step("gate") as tags:
            now, champion = self._now(release), self._champion(release)
            if now.version == champion or (now.approved and now.tags.get(AGAINST) == champion):
                print(line("approved", f"{now}, before"))
                return
            _, progress = terminal()
            gate = self._settings.gate
            judged, verdict = judge_release(self._registry, release.name, release.version, gate, progress)
            for one in verdict.checks:
                print(line(f"{'✓' if one.passed else '✗'} {one.name}", one.told))
                tags[one.name] = json.dumps(one.to_dict())
            tell("approved" if verdict.approved else "refused", judged, reasons=verdict.reasons)
            if not verdict.approved:
                why = "; ".join(verdict.reasons)
                raise NotApproved(f"{judged}: refused ({why}) — mend that, then the same command again")

    def _load_test(self, release: Release, run: RunFolder) -> None:
        """Ask a server of the bundle, on this machine, as often as is required."""
        required = self._settings.load_test
        if required is None or self._now(release).version == self._champion(release):
            return
        with self._tree.step("load test") as tags, serving(run.bundle) as url:
            found = check_load(url, required.clients, required.seconds, required.p99_ms)
            tags["p99_ms"] = f"{found.quantile(0.99):.1f}"
            tags["requests"] = str(found.n_requests)

    def _approve(self, release: Release) -> bool:
        """Whether it is the champion, by the gate or by somebody's hand; meanwhile it is a canary."""
        with self._tree.step("approve") as tags:
            tags["by"] = self._settings.approve
            if self._now(release).version != self._champion(release):
                if self._settings.approve == "hand":
                    self._canary(release)
                    return False
                tell("promoted", promote(self._registry, release.name, release.version))
            print(line(CHAMPION, release))
            return True

    def _canary(self, release: Release) -> None:
        share = self._settings.canary
        if not share or not (self._served / CHAMPION).exists():
            return
        deploy(self._registry, release.name, release.version, self._served, CHALLENGER)
        self._plan({CHALLENGER: share})
        print(line("canary", f"{release} answers {share:.0%} of the requests"))

    def _plan(self, canary: Mapping[str, float]) -> None:
        """What the server of the folder shall do, written in one step."""
        aliases = {alias: alias for alias in (CHAMPION, *canary)}
        with replacing(self._served / DEPLOYMENTS) as path:
            content = OmegaConf.to_yaml(OmegaConf.create({"aliases": aliases, "canary": dict(canary)}))
            path.write_text(content, encoding="utf-8")

    def _now(self, release: Release) -> Release:
        found = self._registry.releases(release.name)
        return next(one for one in found if one.version == release.version)

    def _champion(self, release: Release) -> str:
        champion = pointed(self._registry.releases(release.name), CHAMPION)
        return "none" if champion is None else champion.version


def _is_searched(settings: Settings, folder: Path) -> bool:
    """Whether the folder holds this search of these records, finished; BundleError where it was altered."""
    if not (folder / CHECKSUMS).exists():
        return False
    run = RunFolder.open(folder)
    check_seal(run)
    asked = json.loads(json.dumps(recorded(settings)))
    found: Any = OmegaConf.to_container(OmegaConf.load(run / CONFIG))
    if asked["task"]["build"].get("settled", "") is None:  # what a search finds out about a file of one's own
        found["task"]["build"]["settled"] = None
    if found != asked:
        return False
    _, progress = terminal()
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    wired = wire(settings, run.name, progress)
    return bool(wired.search.dataset.digest == summary["data"]["digest"])
