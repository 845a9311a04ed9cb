"""Recordings of beats: what surrounds each beat, whole recordings, and windows against plain loops."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from ehrbench.core.views import Signal
from ehrbench.features import neighbourhoods
from ehrbench.features.beat_context import BeatContext
from ehrbench.features.beats import Beats
from ehrbench.features.rhythm import Rhythm
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import random_beats, records_of


class TestBeatContext(FeaturizerContract):
    kind = BeatContext
    variants: ClassVar = [{}, {"reach": 3}, {"scaling": "quantile"}]

    def payload(self, n, seed):
        return random_beats(n, seed)


class TestRhythm(FeaturizerContract):
    kind = Rhythm
    variants: ClassVar = [{}, {"scaling": "robust"}]

    def payload(self, n, seed):
        return random_beats(n, seed)


def test_what_is_neither_relative_nor_a_logarithm_has_a_unit():
    names, of = BeatContext().rows(records_of(random_beats(3, 1))).names, BeatContext().unit
    said = {name: unit for name in names if (unit := of(name, {}))}
    assert set(said) >= {"level.ms", "lost.ms", "recording.median", "shape.run_before", "shape.shortest_at@9"}
    assert {name.partition("@")[0] for name, unit in said.items() if unit == "ms"} == {
        "level.ms", "lost.ms", "lost.around", "recording.median"
    }  # fmt: skip


def test_every_column_is_finite_and_named_once():
    view = BeatContext().rows(records_of(random_beats(30, 1)))
    assert np.isfinite(view.values).all()
    assert len(set(view.names)) == len(view.names) == view.values.shape[1]


def test_most_columns_tell_nothing_of_a_hearts_own_pace():
    beats = random_beats(12, 2)
    slower = Beats(beats.starts, beats.rr_ms * np.float32(1.25), beats.lost_ms)
    one, two = (BeatContext().rows(records_of(payload)) for payload in (beats, slower))
    same = np.isclose(one.values, two.values, atol=1e-4).all(axis=0)
    moved = {name.partition("@")[0] for name, still in zip(one.names, same, strict=True) if not still}
    assert moved <= {"level.ms", "variability.jumps", "recording.median", "recording.jumps"}


def test_a_surge_stands_out_where_it_is():
    rr = np.full(400, 800.0) + np.random.default_rng(0).normal(0, 8, 400)
    rr[200:212] *= 0.8
    view = BeatContext().rows(records_of(Beats(np.array([0, 400]), rr.astype(np.float32), np.zeros(400))))
    far = view.values[:, view.names.index("level.over_median@129")]
    assert set(np.argsort(far)[:12]) == set(range(200, 212))


def test_a_signal_has_its_units_on_its_beats():
    beats = random_beats(9, 3)
    view = Rhythm().fit(records_of(beats)).transform(records_of(beats))
    assert isinstance(view, Signal)
    assert view.unit_step.tolist() == [i for n in beats.n_beats for i in range(n)]
    assert np.isfinite(view.values).all()


@pytest.mark.parametrize("n", [1, 2, 5, 60])
@pytest.mark.parametrize("half", [1, 4, 20])
def test_neighbourhoods_are_those_of_plain_loops(n: int, half: int):
    x = np.random.default_rng(n).normal(size=n)
    padded = neighbourhoods.mirrored(x, half)
    around = [padded[i : i + 2 * half + 1] for i in range(n)]
    at = np.arange(-half, half + 1)
    close = np.testing.assert_allclose
    close(neighbourhoods.running_mean(x, half), [w.mean() for w in around], atol=1e-9)
    close(neighbourhoods.running_deviation(x, half), [w.std() for w in around], atol=1e-6)
    close(neighbourhoods.running_slope(x, half), [np.polyfit(at, w, 1)[0] for w in around], atol=1e-9)
    low, middle, high = neighbourhoods.running_quantiles(x, half, (0, 0.5, 1)).T
    close(low, [w.min() for w in around])
    close(middle, [np.median(w) for w in around])
    close(high, [w.max() for w in around])
    ranks = [((w < v).mean() + (w <= v).mean()) / 2 for v, w in zip(x, around, strict=True)]
    close(neighbourhoods.running_rank(x, half), ranks)
    before = neighbourhoods.before_after(x, half, -1)
    close(before, [w[:half].mean() for w in around], atol=1e-9)


def test_autocorrelation_of_a_wave_follows_its_period():
    wave = np.sin(2 * np.pi * np.arange(200) / 4)
    inner = slice(40, 160)
    assert neighbourhoods.running_autocorrelation(wave, 16, 4)[inner].min() > 0.95
    assert neighbourhoods.running_autocorrelation(wave, 16, 2)[inner].max() < -0.95
    assert (neighbourhoods.running_autocorrelation(np.ones(30), 4, 1) == 0).all()
    assert len(neighbourhoods.running_autocorrelation(np.ones(1), 4, 3)) == 1
