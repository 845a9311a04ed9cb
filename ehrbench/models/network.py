"""NetworkModel: a network of ``ehrbench.nets`` as a Model. Featurizes, trains, predicts, saves, exports.

A concrete model names its network and checks its own settings; everything else is here and in ``training``.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import FitResult, Member, Model, PlannedFit, Watch, load_arrays, save_arrays, silent
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Port, View, offsets, ragged
from ehrbench.models.batches import PASS_CELLS, PASS_ITEMS, Batches, batch, by_length
from ehrbench.models.course import FitCourse
from ehrbench.models.export import member_of, write_onnx
from ehrbench.models.fitting import fitted
from ehrbench.models.labels import check_learnable, class_weights, known_rows
from ehrbench.models.loss import JointLoss, TargetLoss
from ehrbench.models.schedule import TrainingSettings
from ehrbench.models.session import single_precision, threads
from ehrbench.models.trainee import Trainee
from ehrbench.nets.averaged import AveragedNetwork
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
    #: Whether ``vmap`` can carry its network, which then has neither buffers nor chance but dropout.
    stackable = False

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
        plan = PlannedFit(self, train, valid, seed, steps, watch)
        ((_, result),) = self.fit_together([plan])
        if isinstance(result, FitError):
            raise result
        return result

    @property
    def trains_together(self) -> bool:
        if not self.stackable or str(self.together) == "False":
            return False
        return str(self.together) == "True" or self._device.type == "cuda"

    @classmethod
    def fit_together(cls, fits: Sequence[PlannedFit]) -> Iterator[tuple[int, FitResult | FitError]]:
        return fitted(fits)

    def trainees(self, fit: PlannedFit) -> list[Trainee]:
        """A network for each of ``n_seeds``, drawn and not trained. FitError where there is nothing to learn.

        The featurizer is fitted once, and all learn from the same arrays.
        """
        train, valid = fit.train, fit.valid
        check_learnable(train.labels, self.target)
        if valid is not None and not known_rows(valid.labels).any():
            raise FitError("no validation label is known — use fewer folds, or check the outcome file")
        self.featurizer.fit(train)
        view = self.featurizer.transform(train)
        labels = train.labels
        if self.auxiliary_weight:
            labels = np.concatenate([labels, train.auxiliary_labels], axis=1)  # (U, C + A)
        epochs = self.max_epochs if valid is not None or fit.steps is None else fit.steps
        loss = self._loss(labels)
        found: list[Trainee] = []
        for number in range(self.n_seeds):
            seed = derive_seed(fit.seed, "network", number) if number else fit.seed
            torch.manual_seed(seed)
            net = self._start(view, labels.shape[1])
            if found:
                batches, checks = found[0].batches.shuffled_by(seed), found[0].checks
            else:
                batches = self._batches(net, view, labels, seed)
                checks = None
                if valid is not None:
                    checks = self._batches(net, self.featurizer.transform(valid), valid.labels, None)
            course = FitCourse(epochs, self.patience, fit.watch, valid is not None, number, self.n_seeds)
            random = torch.get_rng_state()
            found.append(Trainee(net, loss, self, batches, checks, course, seed, random, self._half))
        return found

    def finish(self, trainees: Sequence[Trainee]) -> FitResult:
        """Take what they have learned; raises the first one's fault."""
        kept: dict[str, Tensor] = {}
        for number, trainee in enumerate(trainees):
            if trainee.fault is not None:
                raise trainee.fault
            wanted = self.network(self._ports, self.target.n_classes).state_dict()
            prefix = f"nets.{number}." if len(trainees) > 1 else ""
            for name, value in trainee.state.items():  # without scores of auxiliary labels
                kept[prefix + name] = value[: len(wanted[name])] if value.dim() else value
        self._net = self._finished(kept)
        results = [trainee.course.result for trainee in trainees]
        best = sorted(result.best_step for result in results)[len(results) // 2]
        return FitResult(best, tuple(point for result in results for point in result.curve))

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

    def _loss(self, y: FloatArray) -> TargetLoss | JointLoss:
        """Of training labels (U, C + A)."""
        n_classes = self.target.n_classes
        weights = class_weights(y[:, :n_classes], self.target, self.class_weight_power)
        loss = TargetLoss(self.target.kind, torch.from_numpy(weights.astype(np.float32)))
        n_auxiliary = y.shape[1] - n_classes
        return JointLoss(loss, n_auxiliary, self.auxiliary_weight) if n_auxiliary else loss

    def _finished(self, state: dict[str, Tensor]) -> Network:
        """The network of a trained state, ready to predict."""
        nets = [self.network(self._ports, self.target.n_classes) for _ in range(self.n_seeds)]
        net = nets[0] if len(nets) == 1 else AveragedNetwork(nets)
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
    def on_gpu(self) -> bool:
        return self._device.type == "cuda"

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
