"""A pre-trained model as the hub would give it: random weights, a few words, a folder made once."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path


@functools.cache
def tiny_bert() -> Path:
    """config.json, tokenizer.json and model.safetensors of a DistilBERT with 16 numbers a token."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import DistilBertConfig, DistilBertModel

    folder = Path(tempfile.mkdtemp(prefix="ehrbench-tiny-bert-"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "patient", "was", "right", "eye", "lens", "procedure"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = DistilBertConfig(
        vocab_size=120, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=300
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = DistilBertModel(config).state_dict()
    (folder / "config.json").write_text(config.to_json_string())
    save_file(weights, folder / "model.safetensors")
    return folder
