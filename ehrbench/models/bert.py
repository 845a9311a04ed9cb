"""BERT: a pre-trained transformer fine-tuned on the texts (DistilBERT, or another of its kind).

Weights come from a folder or the Hugging Face hub, when a model is built: where neither has them a search
ends before it begins. Every fit keeps all its weights, some 260 MB of DistilBERT.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ehrbench.core.errors import ConfigError
from ehrbench.core.views import View
from ehrbench.features.pretrained import pretrained_file
from ehrbench.models.network import NetworkModel, Ports
from ehrbench.models.settings import check_range
from ehrbench.models.textcnn import n_tokens
from ehrbench.nets.bert import BertNetwork
from ehrbench.nets.network import Network


@dataclass(kw_only=True, eq=False)
class BERT(NetworkModel):
    """pretrained: a folder, or a name on the hub, as the featurizer's. dropout: of the head.

    The rest: ``TrainingSettings``; decay, rate and clipping are AdamW's.
    """

    pretrained: str
    dropout: float = 0.1
    learning_rate: float = 1e-05
    batch_size: int = 16
    max_epochs: int = 10
    patience: int = 2
    warmup_epochs: float = 0.5
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("dropout", self.dropout, 0.0, 0.9)
        if find_spec("transformers") is None:
            raise ConfigError("pretrained", "transformers is not installed", 'pip install "ehrbench[text]"')
        for name in ("config.json", "model.safetensors"):
            pretrained_file(self.pretrained, name)

    def network(self, ports: Ports, n_scores: int) -> BertNetwork:
        n_ids = n_tokens(ports, "BERT")
        from transformers import AutoConfig, AutoModel

        raw = json.loads(pretrained_file(self.pretrained, "config.json").read_text(encoding="utf-8"))
        config: Any = AutoConfig.for_model(**raw)
        if n_ids > config.vocab_size:
            raise ConfigError(
                "pretrained",
                f"its {config.vocab_size} tokens are fewer than the view's {n_ids}",
                "name the same model for view and model",
            )
        encoder = AutoModel.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]
        return BertNetwork(encoder, config.hidden_size, n_scores, self.dropout)

    def _start(self, view: View, n_scores: int) -> Network:
        """With the pre-trained weights in the encoder, whose names may carry its kind in front."""
        from safetensors.torch import load_file

        net = super()._start(view, n_scores)
        assert isinstance(net, BertNetwork)
        given = load_file(pretrained_file(self.pretrained, "model.safetensors"))
        prefix = f"{net.encoder.base_model_prefix}."
        given = {_today(name.removeprefix(prefix)): value for name, value in given.items()}
        missing = net.encoder.load_state_dict(given, strict=False).missing_keys
        if wanted := [name for name in missing if not name.startswith("pooler.")]:
            raise ConfigError(
                "pretrained", f"model.safetensors lacks {wanted[0]}", "name the model's own weights"
            )
        return net


def _today(name: str) -> str:
    """A weight's name, of which the first BERT's norms had another."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
