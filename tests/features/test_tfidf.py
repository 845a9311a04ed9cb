"""TfIdf: against scikit-learn's, with nothing of other records in it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from ehrbench.core.errors import ConfigError
from ehrbench.core.views import Bag
from ehrbench.features.texts import Texts, words
from ehrbench.features.tfidf import TfIdf
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import random_texts, records_of


class TestTfIdf(FeaturizerContract):
    kind = TfIdf
    variants = [  # noqa: RUF012
        {},
        {"words": [1, 1], "characters": []},
        {"words": [], "characters": [2, 4], "min_records": 3},
        {"max_columns": 20, "max_share": 0.8, "characters_share": 0.2},
    ]

    def payload(self, n: int, seed: int) -> Texts:
        return random_texts(n, seed)


def dense(view: Bag) -> np.ndarray:
    return sparse.csr_array(
        (view.data, view.columns, view.starts), shape=(len(view), view.n_columns)
    ).toarray()


@pytest.mark.parametrize(("by", "limits"), [("words", (1, 2)), ("characters", (3, 5))])
def test_it_is_scikit_learn_s_without_a_vocabulary(by: str, limits: tuple[int, int]) -> None:
    """Columns stand in another order: rows' scalar products are the same."""
    train, test = random_texts(80, 1), random_texts(30, 2)
    settings = {"words": (), "characters": (), "min_records": 2, "max_share": 1.0, by: limits}
    own = TfIdf(**settings).fit(records_of(train))
    analyzer = {"token_pattern": None, "tokenizer": words} if by == "words" else {"analyzer": "char_wb"}
    plain = [" ".join(words(text)) for text in train.texts], [" ".join(words(text)) for text in test.texts]
    theirs = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=limits, **analyzer).fit(plain[0])
    one, other = (dense(own.transform(records_of(texts))) for texts in (train, test))
    expected = theirs.transform(plain[1]) @ theirs.transform(plain[0]).T
    np.testing.assert_allclose(other @ one.T, expected.toarray(), atol=2e-6)


def test_rows_have_length_one_whatever_the_shares() -> None:
    texts = records_of(random_texts(50, 3))
    for share in (0.0, 0.3, 1.0):
        view = TfIdf(characters_share=share, max_share=1.0).fit(texts).transform(texts)
        assert isinstance(view, Bag)
        lengths = (dense(view) ** 2).sum(axis=1)
        np.testing.assert_allclose(lengths[1:], 1, atol=1e-5)
        assert lengths[0] == 0  # a text without a word


def test_terms_that_training_never_saw_are_left_out() -> None:
    featurizer = TfIdf(min_records=1, max_share=1.0).fit(records_of(Texts(("heart failure",) * 3)))
    view = featurizer.transform(records_of(Texts(("quick zebu", "heart failure"))))
    assert np.diff(view.starts).tolist()[0] == 0
    assert np.diff(view.starts).tolist()[1] > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("words", [2, 1]), ("words", [1, 3]), ("characters", [0, 2]), ("min_records", 0), ("max_share", 1.2)],
)
def test_wrong_settings_are_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: .*—"):
        TfIdf(**{key: value})
