"""A ``Bag`` as SciPy's compressed rows."""

from __future__ import annotations

from scipy import sparse

from ehrbench.core.views import Bag


def csr(view: Bag) -> sparse.csr_matrix:
    """(U, F); shares the view's memory."""
    return sparse.csr_matrix((view.data, view.columns, view.starts), shape=(len(view), view.n_columns))
