"""Intervals and label sets keep what they promise, whatever the model, and say nothing of anybody."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from ehrbench.core.errors import BundleError
from ehrbench.core.profile import FEWEST
from ehrbench.core.target import Target
from ehrbench.ensemble.label_sets import LabelSets
from ehrbench.ensemble.uncertainty import fit_uncertainty, read_uncertainty, write_uncertainty
from ehrbench.ensemble.venn_abers import MOST_BINS, VennAbers

BINARY, KINDS = Target("binary", ("death",)), Target("multiclass", ("N", "S", "V"))


def binary(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What an overconfident model says, the outcomes, and whose."""
    z = rng.normal(-1, 1.5, n)
    y = (rng.random(n) < expit(z)).astype(float)
    return expit(2.5 * z + 1)[:, None], y[:, None], np.arange(n).astype(str)


def kinds(n: int, rng: np.random.Generator, each: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes, one of them rare; ``each`` units a group, which share much of their errors."""
    group = np.repeat(np.arange(n), each)
    label = np.repeat(rng.choice(3, n, p=[0.7, 0.22, 0.08]), each)
    shared = np.repeat(rng.normal(size=(n, 3)), each, axis=0)
    z = 1.5 * np.eye(3)[label] + 1.4 * shared + 0.4 * rng.normal(size=(n * each, 3))
    return KINDS.probabilities(z), np.eye(3)[label], group.astype(str)


def test_a_single_unit_more_gives_the_ends():
    """Against isotonic regression of all units by hand, where every bin holds one probability."""
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(0)
    p = np.repeat(np.array([0.1, 0.3, 0.5, 0.8]), 25)
    y = (rng.random(100) < p).astype(float)
    found = VennAbers.fit(p[:, None], y[:, None], np.arange(100).astype(str))
    for at in np.unique(p):
        for label, end in enumerate(found.intervals(np.array([[at]]))[0, 0]):
            by_hand = IsotonicRegression().fit(np.append(p, at), np.append(y, label)).predict([at])[0]
            assert end == pytest.approx(by_hand, abs=1e-6)


def test_the_ends_lie_on_both_sides_of_the_frequency_however_wrong_the_model():
    """The theorem's consequence, over 300 small calibrations; the model itself is far off."""
    rng = np.random.default_rng(1)
    said, ends, came = [], [], []
    for _ in range(300):
        found = VennAbers.fit(*binary(80, rng))
        p, y, _ = binary(40, rng)
        said.append(p), ends.append(found.intervals(p)[:, 0]), came.append(y[:, 0])
    p, ends, came = np.concatenate(said)[:, 0], np.concatenate(ends), np.concatenate(came)
    for part in (p < 0.1, (p >= 0.1) & (p < 0.9), p >= 0.9):
        error = 3 * np.sqrt(0.25 / part.sum())
        assert ends[part, 0].mean() - error <= came[part].mean() <= ends[part, 1].mean() + error
    middle = (p >= 0.1) & (p < 0.9)
    assert abs(p[middle].mean() - came[middle].mean()) > 0.05  # there was something to mend
    assert (ends[:, 0] <= ends[:, 1]).all()


def test_an_interval_narrows_with_the_units_and_ignores_how_many_a_patient_has():
    rng = np.random.default_rng(2)
    wide, narrow = (
        np.diff(VennAbers.fit(*binary(n, rng)).intervals(np.array([[0.5]])))[0, 0, 0] for n in (60, 6000)
    )
    assert 0 < narrow < 0.05 < wide
    p, y, group = binary(200, rng)
    many = [np.repeat(one, 30, axis=0) for one in (p, y, group)]
    asked = np.linspace(0, 1, 50)[:, None]
    once, often = (VennAbers.fit(*one).intervals(asked) for one in ((p, y, group), many))
    np.testing.assert_allclose(often, once, atol=0.02)  # thirty beats of a patient are one patient


def test_bins_hold_ten_patients_and_have_an_end():
    rng = np.random.default_rng(3)
    for n, units in ((5, 1), (105, 1), (30, 40), (20_000, 1)):
        p, y, group = binary(n * units, rng)
        group = np.repeat(group[:n], units)
        found = VennAbers.fit(p, y, group)
        place = np.searchsorted(found.edges[0], p[:, 0], side="right")
        assert len(found.ends[0]) <= MOST_BINS
        assert all(len(set(group[place == b])) >= min(FEWEST, n) for b in range(len(found.ends[0])))


@pytest.mark.parametrize("each", [1, 8])
def test_nine_of_ten_units_of_every_class_are_in_their_set(each):
    """Over 200 calibrations; the rare class, too, and where a patient's units err together."""
    rng = np.random.default_rng(4)
    held, sizes = [], []
    for _ in range(200):
        found = LabelSets.fit(*kinds(300, rng, each))
        p, y, _ = kinds(200, rng)
        sets = found.sets(p)
        held.append([(sets & (y == 1))[y[:, c] == 1].any(axis=1).mean() for c in range(3)])
        sizes.append(sets.sum(axis=1).mean())
    assert (np.nanmean(held, axis=0) > 0.89).all()
    assert (np.nanmean(held, axis=0) < 0.96).all()  # and not by naming everything
    assert 1 <= np.mean(sizes) < 2.2


def test_a_class_of_too_few_is_never_ruled_out():
    rng = np.random.default_rng(5)
    p, y, group = kinds(300, rng)
    few = np.flatnonzero(y[:, 2])[:8]
    kept = np.sort(np.append(np.flatnonzero(y[:, 2] == 0), few))
    assert LabelSets.fit(p[kept], y[kept], group[kept]).sets(p)[:, 2].all()


@pytest.mark.parametrize(("target", "made"), [(BINARY, binary), (KINDS, kinds)])
def test_it_survives_the_bundle_to_the_last_bit(target, made):
    found = fit_uncertainty(target, *made(200, np.random.default_rng(6)))
    again = read_uncertainty(write_uncertainty(found), target)
    assert type(again) is (VennAbers if target is BINARY else LabelSets)
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"format": 2}',
        '{"format": 1, "kind": "pickle", "state": {}}',
        '{"format": 1, "kind": "venn_abers", "state": {"edges": [[0.1]], "ends": [[[0, 1]]]}}',
        '{"format": 1, "kind": "label_sets", "state": {"cuts": [0.1], "level": 0.9}}',
    ],
)
def test_what_does_not_fit_is_refused(text):
    with pytest.raises(BundleError, match="export"):
        read_uncertainty(text, KINDS)
