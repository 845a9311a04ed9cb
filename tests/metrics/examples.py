"""Labels and predictions that metrics are tried on."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray

BINARY = Target("binary", ("death",))
MULTILABEL = Target("multilabel", ("effusion", "oedema", "mass"))
MULTICLASS = Target("multiclass", ("n", "v", "s"))
TARGETS = {t.kind: t for t in (BINARY, MULTILABEL, MULTICLASS)}


def sample(target: Target, n: int = 200, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Labels and informative probabilities (n, C), with ties."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, target.n_classes)) - 0.5
    p = np.round(target.probabilities(z), 2)
    if target.kind == "multiclass":
        p = target.probabilities(np.round(z, 1))
        y = np.eye(target.n_classes)[[rng.choice(target.n_classes, p=row) for row in p]]
    else:
        y = (rng.random(p.shape) < p).astype(float)
    return y, p


@st.composite
def binary(draw: st.DrawFn, least: int = 4, most: int = 40) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(U, 1) labels of both classes, (U, 1) probabilities full of ties and of exact 0 and 1, (U,) weights."""
    n = draw(st.integers(least, most))
    grid = st.sampled_from([0.0, 1e-12, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7, 0.9, 1 - 1e-12, 1.0])
    p = draw(st.lists(grid, min_size=n, max_size=n))
    y = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n - 2, max_size=n - 2))
    weight = draw(st.lists(st.integers(0, 4), min_size=n - 2, max_size=n - 2))
    return np.array([0.0, 1.0, *y])[:, None], np.array(p)[:, None], np.array([1.0, 1.0, *weight])
