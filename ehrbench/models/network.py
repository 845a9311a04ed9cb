"""NetworkModel: a network of ``ehrbench.nets`` as a Model. Featurizes, trains, predicts, saves, exports.

A concrete model names its network and checks its own settings; everything else is here and in ``training``.
The pieces of a fit (``_tensors``, ``_start``, ``_train``) are apart so that all folds can be trained at once.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import FitResult, Member, Model, Watch, load_arrays, save_arrays, silent
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.core.views import View
from ehrbench.models.batches import Batches
from ehrbench.models.export import member_of, write_onnx
from ehrbench.models.labels import check_learnable, class_weights, known_rows
from ehrbench.models.loss import JointLoss, TargetLoss
from ehrbench.models.schedule import TrainingSettings
from ehrbench.models.session import gpu_memory, quiet, seeded, single_precision, threads
from ehrbench.models.training import Keeper, Training
from ehrbench.nets.network import Network

#: Rows of one forward pass without gradients.
PREDICT_ROWS = 1024

Shapes = dict[str, tuple[int, ...]]


@dataclass(kw_only=True, eq=False)
class NetworkModel(TrainingSettings, Model):
    """A dataclass of its settings, each a constructor argument of the same name; subclasses add theirs."""

    target: Target
    featurizer: Featurizer

    def __post_init__(self) -> None:
        super().__post_init__()
        self._net: Network | None = None
        self._shapes: Shapes = {}

    @abstractmethod
    def network(self, shapes: Shapes, n_scores: int) -> Network:
        """The untrained network for a view's arrays of these shapes, without their first axis.

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
        self._shapes = {name: array.shape[1:] for name, array in view.arrays().items()}
        return self.network(self._shapes, n_scores).to(self._device)

    def _batches(self, net: Network, view: View, y: FloatArray, seed: int | None) -> Batches:
        keep = known_rows(y[:, : self.target.n_classes])
        inputs = self._prepare(net, view.take(np.flatnonzero(keep)) if not keep.all() else view)
        labels = torch.from_numpy(np.asarray(y[keep], dtype=np.float32)).to(self._device)
        return Batches(inputs, labels, self.batch_size if seed is not None else PREDICT_ROWS, seed)

    @torch.no_grad()
    def _prepare(self, net: Network, view: View) -> tuple[Tensor, ...]:
        arrays = {name: _tensor(a) for name, a in view.arrays().items()}
        parts = []
        for start in range(0, max(1, len(view)), PREDICT_ROWS):
            rows = slice(start, start + PREDICT_ROWS)
            parts.append(net.prepare(**{name: a[rows].to(self._device) for name, a in arrays.items()}))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _train(
        self, net: Network, batches: Batches, checks: Batches | None, y: FloatArray, epochs: int, watch: Watch
    ) -> FitResult:
        n_classes = self.target.n_classes
        weights = class_weights(y[:, :n_classes], self.target, self.class_weight_power)
        loss = TargetLoss(self.target.kind, torch.from_numpy(weights.astype(np.float32)))
        n_auxiliary = y.shape[1] - n_classes
        joint = JointLoss(loss, n_auxiliary, self.auxiliary_weight) if n_auxiliary else loss
        module = Training(net, joint, self, len(batches))
        keeper = Keeper(epochs, self.patience, watch, checks is not None)
        trainer = pl.Trainer(
            accelerator=self._device.type if self._device.type == "cpu" else "gpu",
            devices=1,
            precision=self._precision,  # type: ignore[arg-type]
            max_epochs=epochs,
            gradient_clip_val=self.gradient_clip,
            callbacks=[keeper],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, batches, checks)
        wanted = self.network(self._shapes, n_classes).state_dict()  # without scores of auxiliary labels
        kept = {
            name: value[: len(wanted[name])] if value.dim() else value for name, value in keeper.state.items()
        }
        self._net = self._finished(kept)
        return FitResult(keeper.best_step, tuple(keeper.curve))

    def _finished(self, state: dict[str, Tensor]) -> Network:
        """The network of a trained state, ready to predict."""
        net = self.network(self._shapes, self.target.n_classes)
        net.load_state_dict(state)
        return net.to(self._device).eval()

    def predict(self, records: Records) -> FloatArray:
        net = self.fitted_network
        view = self.featurizer.transform(records.without_labels())
        on_gpu = self._device.type == "cuda"
        with threads(self.threads), single_precision(on_gpu), torch.inference_mode():
            scores = [
                net(**{n: _tensor(a).to(self._device) for n, a in arrays.items()}) for arrays in _chunks(view)
            ]
            return self.target.probabilities(torch.cat(scores).double().cpu().numpy())

    def save(self, directory: Path) -> None:
        state = self.fitted_network.state_dict()
        save_arrays(directory / "network.npz", {name: value.cpu().numpy() for name, value in state.items()})
        save_arrays(directory / "featurizer.npz", self.featurizer.state())
        (directory / "shapes.json").write_text(json.dumps(self._shapes), encoding="utf-8")

    def restore(self, directory: Path) -> None:
        shapes = json.loads((directory / "shapes.json").read_text(encoding="utf-8"))
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.featurizer.restore(load_arrays(directory / "featurizer.npz"))
        state = load_arrays(directory / "network.npz")
        self._net = self._finished({name: torch.from_numpy(value) for name, value in state.items()})

    def export(self, directory: Path) -> Member:
        net = self.fitted_network
        try:
            write_onnx(net.cpu(), self._shapes, directory / "model.onnx")
        finally:
            net.to(self._device)
        save_arrays(directory / "featurizer.npz", self.featurizer.state())
        return member_of("onnx", self.featurizer)

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
    def _precision(self) -> str:
        bf16 = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        wanted = {"auto": bf16, "bf16": True, "32": False}[str(self.precision)]
        return "bf16-mixed" if wanted else "32-true"


def _tensor(array: np.ndarray) -> Tensor:
    """Shares memory where it may be written to; a read-only array (a memory map, a broadcast) is copied."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _chunks(view: View) -> list[dict[str, np.ndarray]]:
    starts = range(0, max(1, len(view)), PREDICT_ROWS)
    return [{n: a[s : s + PREDICT_ROWS] for n, a in view.arrays().items()} for s in starts]
