"""Pixels: pictures as they are, for networks that see; nothing is fitted, and the network scales them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.views import Image, View
from ehrbench.features.pictures import Pictures


class Pixels(Featurizer):
    """``Pictures`` to ``Image`` of one channel; a memory map stays one."""

    def settings(self) -> dict[str, Any]:
        return {}

    def rows(self, records: Records) -> View:
        payload = records.payload
        assert isinstance(payload, Pictures)
        return Image(payload.pixels[:, None], payload.images, payload.n_images)

    def fit_rows(self, view: View) -> None:
        pass

    def apply(self, view: View) -> View:
        return view

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass
