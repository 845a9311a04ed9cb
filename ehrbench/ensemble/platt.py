"""Platt scaling (Platt 1999): logistic regression of the outcome on the score, slope and bias.

Multi-class: one slope and a bias for each class, multinomial (a restricted form of Guo et al.'s vector
scaling). Where Platt moves the labels off 0 and 1 to keep the fit finite, a unit-variance prior does it
here.
"""

from __future__ import annotations

from typing import ClassVar

from ehrbench.ensemble._scaling import ScoreScaling


class Platt(ScoreScaling):
    """``slope`` (C,) and ``bias`` (C,)."""

    name = "platt"
    has_bias: ClassVar[bool] = True
