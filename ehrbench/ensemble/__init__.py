"""Ensembles: combiners and calibrators, one file each, and ``Ensemble``, which chooses among them.

Needs numpy and scipy only, since bundles run it where they serve.
"""

from ehrbench.ensemble.ensemble import CALIBRATORS, COMBINERS, Ensemble

__all__ = ["CALIBRATORS", "COMBINERS", "Ensemble"]
