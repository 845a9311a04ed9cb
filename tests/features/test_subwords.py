"""Subwords: a tokenizer made of the training texts, that travels as JSON."""

from __future__ import annotations

import json

import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.core.views import Tokens
from ehrbench.features.subwords import Subwords
from ehrbench.features.texts import Texts
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import random_texts, records_of

pytest.importorskip("tokenizers")


class TestSubwords(FeaturizerContract):
    kind = Subwords
    variants = [{"vocabulary": 150}, {"vocabulary": 120, "max_tokens": 9}]  # noqa: RUF012

    def payload(self, n: int, seed: int) -> Texts:
        return random_texts(n, seed)


def test_ids_are_below_the_number_of_tokens_and_never_padding() -> None:
    train = records_of(random_texts(60, 1))
    view = Subwords(vocabulary=150, max_tokens=20).fit(train).transform(records_of(random_texts(40, 2)))
    assert isinstance(view, Tokens)
    assert view.ports()["ids"].below == view.n_tokens <= 150
    assert 0 < view.ids.min() <= view.ids.max() < view.n_tokens
    assert view.extents().max() == 20


def test_the_same_texts_make_the_same_tokenizer() -> None:
    train = records_of(random_texts(200, 3))
    one, other = (Subwords(vocabulary=300).fit(train).state()["tokenizer"].tobytes() for _ in range(2))
    assert one == other
    assert json.loads(one)["model"]["type"] == "BPE"


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"^vocabulary: .*—"):
        Subwords(vocabulary=3)
