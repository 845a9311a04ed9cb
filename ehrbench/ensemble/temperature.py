"""Temperature scaling (Guo et al. 2017): scores over T; one T a label, or one for a multi-class target."""

from __future__ import annotations

from typing import ClassVar

from ehrbench.ensemble._scaling import ScoreScaling


class Temperature(ScoreScaling):
    """``slope`` is 1/T, ``bias`` stays 0."""

    name = "temperature"
    has_bias: ClassVar[bool] = False
