#!/usr/bin/env python3
"""Make a bundle of a network that was trained elsewhere, from its Lightning checkpoint.

    scripts/from_lightning.py last.ckpt runs/from-lightning/bundle --task mortality --model lstm \\
        --prefix net. data.root=data/physionet2012 data.sets=[a]

The checkpoint holds weights of one of this package's networks (``ehrbench.nets``), alone (a state dict) or
as an attribute of a LightningModule: ``--prefix`` is what its names begin with there. What follows are keys
as ``ehrbench search`` takes them; they must say what the network was trained with: the model's settings, the
view, and the training records, on which the featurizer is fitted again. Nothing in the file is run. The
bundle gives the network's own probabilities: no calibrator, thresholds of 0.5, no figures. ``ehrbench
evaluate`` scores it, on records that it was not trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ehrbench.app.composed.checking import check, written
from ehrbench.app.python.asking import asked
from ehrbench.app.wired.provenance import git_commit, versions
from ehrbench.app.wired.wiring import plan, settled
from ehrbench.core.bundle import (
    CONFIG,
    ENSEMBLE,
    MANIFEST,
    TRAINING_GROUPS,
    Manifest,
    group_hashes,
    write_checksums,
)
from ehrbench.core.digest import digest
from ehrbench.core.errors import BundleError, EhrbenchError
from ehrbench.core.model import save_arrays
from ehrbench.core.progress import SILENT
from ehrbench.core.records import Records
from ehrbench.ensemble import Ensemble
from ehrbench.models.network import NetworkModel
from ehrbench.runtime import Bundle
from ehrbench.spine.parity import check_parity

#: Training records on which the bundle must say what the network says.
PROBES = 50


def weights(path: Path, prefix: str) -> dict[str, np.ndarray]:
    """Name -> array of the network's state; BundleError where nothing begins with ``prefix``."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds, and what it refuses to unpickle
        reason = f"{error}".splitlines()[0]
        raise BundleError(
            f"{path}: no checkpoint to be read without running it ({reason}) — save its state dict alone"
        ) from error
    state = content.get("state_dict", content)
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise BundleError(
            f"{path}: nothing in it begins with {prefix!r} — its names are {', '.join(list(state)[:5])}, …"
        )
    return {name: value.numpy() for name, value in found.items()}


def restored(model: NetworkModel, state: dict[str, np.ndarray], records: Records, path: Path) -> None:
    """Make ``model`` the network of the checkpoint, its featurizer fitted on the records."""
    model.featurizer.fit(records)
    ports = model.featurizer.transform(records.take(np.arange(1))).ports()
    with tempfile.TemporaryDirectory() as folder:
        save_arrays(Path(folder) / "network.npz", state)
        save_arrays(Path(folder) / "featurizer.npz", model.featurizer.state())
        told = {name: [port.dtype, port.below, *port.shape] for name, port in ports.items()}
        (Path(folder) / "inputs.json").write_text(json.dumps(told), encoding="utf-8")
        try:
            model.restore(Path(folder))
        except RuntimeError as error:
            first = " ".join(str(error).split("\n")[1:2]).strip()
            raise BundleError(
                f"{path}: not the weights of this model ({first}) — give --prefix and its own settings"
            ) from error


def convert(checkpoint: Path, target: Path, config: dict[str, Any], prefix: str) -> Path:
    """Write the bundle to the new folder ``target``."""
    if target.exists():
        raise BundleError(f"{target}: exists — name a new folder")
    settings, publisher = settled(check(config), SILENT)
    planned = plan(settings)
    ((name, contender),) = planned.contenders.items()
    cohort = publisher.read(Path(settings.data.root), settings.data.sets or publisher.default_sets(), SILENT)
    records, task = cohort.records, planned.task
    model = contender.builder({})
    if not isinstance(model, NetworkModel):
        raise BundleError(f"{name}: no network, so no checkpoint is one of it — choose another --model")
    restored(model, weights(checkpoint, prefix), records, checkpoint)

    folder = target / "members" / name / "0"
    folder.mkdir(parents=True)
    (folder / "member.json").write_text(json.dumps(asdict(model.export(folder)), indent=1), encoding="utf-8")
    member, build = folder.relative_to(target).as_posix(), dict(settings.task.build)
    probe = records.take(np.arange(min(PROBES, len(records)))).without_labels()
    example = task.parse([task.example()], strict=True).records
    said, of_example = model.predict(probe), model.predict(example)
    scores = {name: task.target.scores(said)}
    alone = np.zeros(len(said), dtype=np.int64)
    ensemble = Ensemble().fit(scores, np.zeros_like(said), target=task.target, fold=alone)
    salt = digest(str(checkpoint.name), "salt")[:16]
    manifest = Manifest(
        study_name=checkpoint.stem,
        task=str(build.pop("_target_")),
        task_settings=build,
        target=task.target,
        models={name: [member]},
        thresholds=[0.5] * task.target.n_classes,
        threshold_rule="fixed: 0.5",
        cohort=cohort.label,
        data_digest=digest(*records.digests.tolist()),
        data_sets=list(cohort.sets),
        protocol="none: a checkpoint trained elsewhere",
        salt=salt,
        git_commit=git_commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=0,
        versions=versions(),
        reference={
            "probability": ensemble.predict({name: task.target.scores(of_example)}).tolist(),
            "uncalibrated": ensemble.predict({name: task.target.scores(of_example)}).tolist(),
            "members": {member: of_example.tolist()},
        },
    )
    np.save(target / TRAINING_GROUPS, np.sort(np.unique(group_hashes(salt, records.groups.astype(str)))))
    (target / ENSEMBLE).write_text(ensemble.to_json(), encoding="utf-8")
    (target / CONFIG).write_text(written(settings), encoding="utf-8")
    (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    write_checksums(target)
    running = Bundle.load(target)
    parity = check_parity(running, probe, {member: said}, ensemble, manifest)
    (target / MANIFEST).write_text(replace(manifest, parity=parity).to_json(), encoding="utf-8")
    write_checksums(target)
    Bundle.load(target).self_test()
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--task", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prefix", default="", help="of the network's names in the checkpoint")
    parser.add_argument("overrides", nargs="*", help="keys as ehrbench search takes them")
    options = parser.parse_intermixed_args(arguments)
    try:
        config = asked(None, None, {"task": options.task, "models": [options.model]}, options.overrides)
        print(convert(options.checkpoint, options.output, config, options.prefix))
    except EhrbenchError as error:
        print(f"from_lightning: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
