"""NetworkModel: a network of ``ehrbench.nets`` as a Model. Featurizes, trains, predicts, saves, exports.

A concrete model names its network and checks its own settings; everything else is here and in ``training``.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import FitResult, Member, Model, Watch, load_arrays, save_arrays, silent
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Port, View, offsets, ragged
from ehrbench.models.batches import PASS_CELLS, PASS_ITEMS, Batches, batch, by_length
from ehrbench.models.course import FitCourse
from ehrbench.models.export import member_of, write_onnx
from ehrbench.models.labels import check_learnable, class_weights, known_rows
from ehrbench.models.loss import JointLoss, TargetLoss
from ehrbench.models.schedule import TrainingSettings
from ehrbench.models.session import gpu_memory, quiet, seeded, single_precision, threads
from ehrbench.models.training import Training
from ehrbench.nets.network import Network

Ports = Mapping[str, Port]


@dataclass(kw_only=True, eq=False)
class NetworkModel(TrainingSettings, Model):
    """A dataclass of its settings, each a constructor argument of the same name; subclasses add theirs."""

    target: Target
    featurizer: Featurizer
    #: Models of recordings make a setting of it: while trained on, longer ones are cut into pieces of about
    #: so many steps (``View.pieces``); 0: none is. Nothing is cut when it is predicted.
    piece = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._net: Network | None = None
        self._ports: Ports = {}

    @abstractmethod
    def network(self, ports: Ports, n_scores: int) -> Network:
        """The untrained network for a view of these ports.

        n_scores: of its last layer, whose rows are the scores; more than classes while auxiliary labels help.
        """

    def fit(
        self,
        train: Records,
        valid: Records | None,
        *,
        seed: int,
        steps: int | None = None,
        watch: Watch = silent,
    ) -> FitResult:
        check_learnable(train.labels, self.target)
        if valid is not None and not known_rows(valid.labels).any():
            raise FitError("no validation label is known — use fewer folds, or check the outcome file")
        self.featurizer.fit(train)
        view = self.featurizer.transform(train)
        on_gpu = self._device.type == "cuda"
        with (
            threads(self.threads),
            quiet(),
            seeded(seed, on_gpu),
            single_precision(on_gpu),
            gpu_memory(on_gpu),
        ):
            labels = train.labels
            if self.auxiliary_weight:
                labels = np.concatenate([labels, train.auxiliary_labels], axis=1)  # (U, C + A)
            net = self._start(view, labels.shape[1])
            batches = self._batches(net, view, labels, seed)
            checks = None
            if valid is not None:
                checks = self._batches(net, self.featurizer.transform(valid), valid.labels, None)
            epochs = self.max_epochs if checks is not None or steps is None else steps
            return self._train(net, batches, checks, labels, epochs, watch)

    def _start(self, view: View, n_scores: int) -> Network:
        self._ports = view.ports()
        net = self.network(self._ports, n_scores).to(self._device)
        return net.double() if str(self.precision) == "64" else net

    def _batches(self, net: Network, view: View, y: FloatArray, seed: int | None) -> Batches:
        """Of the items with a known label of the target."""
        keep = known_rows(y[:, : self.target.n_classes])
        if not keep.all():
            counts = view.unit_counts()
            if counts is None:
                view, y = view.take(np.flatnonzero(keep)), y[keep]
            else:
                owner = np.repeat(np.arange(len(view)), counts)
                items = np.unique(owner[keep])
                view, y = view.take(items), y[ragged(offsets(counts), items)[0]]
        return Batches(net, view, y, self.batch_size, self._device, seed, self.piece)

    def _train(
        self, net: Network, batches: Batches, checks: Batches | None, y: FloatArray, epochs: int, watch: Watch
    ) -> FitResult:
        n_classes = self.target.n_classes
        weights = class_weights(y[:, :n_classes], self.target, self.class_weight_power)
        loss = TargetLoss(self.target.kind, torch.from_numpy(weights.astype(np.float32)))
        n_auxiliary = y.shape[1] - n_classes
        joint = JointLoss(loss, n_auxiliary, self.auxiliary_weight) if n_auxiliary else loss
        course = FitCourse(epochs, self.patience, watch, checks is not None)
        state = Training(net, joint, self, len(batches), self._half).run(batches, checks, course)
        wanted = self.network(self._ports, n_classes).state_dict()  # without scores of auxiliary labels
        kept = {name: value[: len(wanted[name])] if value.dim() else value for name, value in state.items()}
        self._net = self._finished(kept)
        return course.result

    def _finished(self, state: dict[str, Tensor]) -> Network:
        """The network of a trained state, ready to predict."""
        net = self.network(self._ports, self.target.n_classes)
        net.load_state_dict(state)
        return net.to(self._device).eval()

    def predict(self, records: Records) -> FloatArray:
        net, device = self.fitted_network, self._device
        view, _, back = by_length(self.featurizer.transform(records.without_labels()))
        found = [torch.zeros(0, self.target.n_classes)]
        with threads(self.threads), single_precision(device.type == "cuda"), torch.inference_mode():
            for part in view.batches(PASS_ITEMS, PASS_CELLS):
                counts = part.unit_counts()
                nobody = torch.zeros(len(part) if counts is None else int(counts.sum()), 0)
                found.append(batch(net, part, nobody, device).scores(net).cpu())
            return self.target.probabilities(torch.cat(found).double().numpy()[back])

    def save(self, directory: Path) -> None:
        state = self.fitted_network.state_dict()
        save_arrays(directory / "network.npz", {name: value.cpu().numpy() for name, value in state.items()})
        save_arrays(directory / "featurizer.npz", self.featurizer.state())
        ports = {name: [port.dtype, port.below, *port.shape] for name, port in self._ports.items()}
        (directory / "inputs.json").write_text(json.dumps(ports), encoding="utf-8")

    def restore(self, directory: Path) -> None:
        ports = json.loads((directory / "inputs.json").read_text(encoding="utf-8"))
        self._ports = {
            name: Port(dtype, tuple(shape), below) for name, (dtype, below, *shape) in ports.items()
        }
        self.featurizer.restore(load_arrays(directory / "featurizer.npz"))
        state = load_arrays(directory / "network.npz")
        self._net = self._finished({name: torch.from_numpy(value) for name, value in state.items()})

    def export(self, directory: Path) -> Member:
        net = self.fitted_network
        try:
            write_onnx(net.cpu(), self._ports, directory / "model.onnx")
        finally:
            net.to(self._device)
        save_arrays(directory / "featurizer.npz", self.featurizer.state())
        return member_of("onnx", self.featurizer, directory / "model.onnx")

    @property
    def fitted_network(self) -> Network:
        """The network as fitted or restored, in evaluation mode: to be read and asked, never changed."""
        if self._net is None:
            raise RuntimeError(f"{type(self).__name__} is not fitted")
        return self._net

    @property
    def _device(self) -> torch.device:
        has_gpu = torch.cuda.is_available()
        if self.accelerator == "gpu" and not has_gpu:
            raise ConfigError("accelerator", "gpu asked for, and torch sees none", "use auto or cpu")
        return torch.device("cuda" if has_gpu and self.accelerator != "cpu" else "cpu")

    @property
    def _half(self) -> bool:
        """Whether products are in bf16, which is asked for by name."""
        wanted = self.precision == "bf16"
        if wanted and self._device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise ConfigError("precision", "bf16 asked for, and this GPU lacks it", "use auto")
        return wanted
