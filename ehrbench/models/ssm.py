"""SSM: a stack of diagonal state-space layers (S4D, S5), on a grid or at the records' own times."""

from __future__ import annotations

from dataclasses import dataclass

from ehrbench.core.errors import ConfigError
from ehrbench.models.network import Ports
from ehrbench.models.sequence import SequenceModel
from ehrbench.models.settings import check_choice, check_flag, check_integer, check_range
from ehrbench.nets.diagonal import DISCRETISATIONS, INITIALISATIONS
from ehrbench.nets.sequence import SequenceNetwork
from ehrbench.nets.ssm import SSMEncoder


@dataclass(kw_only=True, eq=False)
class SSM(SequenceModel):
    """n_pairs: conjugate pairs of states a layer; dt_min, dt_max: where the learned time steps start.

    irregular: Δ from the records' own times, instead of one step of the grid; bidirectional: also backwards.
    The rest: ``SequenceModel``, ``TrainingSettings``.
    """

    n_pairs: int = 32
    initialisation: str = "s4d-lin"
    discretisation: str = "zoh"
    dt_min: float = 0.01
    dt_max: float = 0.5
    bidirectional: bool = False
    irregular: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("n_pairs", self.n_pairs, 1, 1024)
        check_choice("initialisation", self.initialisation, INITIALISATIONS)
        check_choice("discretisation", self.discretisation, DISCRETISATIONS)
        check_range("dt_min", self.dt_min, 1e-5, 10.0)
        check_range("dt_max", self.dt_max, 1e-5, 10.0)
        if self.dt_max < self.dt_min:
            raise ConfigError("dt_max", f"{self.dt_max} is below dt_min ({self.dt_min})", "raise it")
        check_flag("bidirectional", self.bidirectional)
        check_flag("irregular", self.irregular)

    def network(self, ports: Ports, n_scores: int) -> SequenceNetwork:
        if self.irregular and "time_hours" not in ports:
            raise ConfigError("irregular", "the view has no times of its own", "say irregular: false")
        return super().network(ports, n_scores)

    def encoder(self, n_inputs: int, any_length: bool) -> SSMEncoder:
        return SSMEncoder(
            n_inputs,
            self.width,
            n_layers=self.n_layers,
            n_pairs=self.n_pairs,
            dropout=self.dropout,
            any_length=any_length,
            irregular=self.irregular,
            initialisation=self.initialisation,
            discretisation=self.discretisation,
            dt_min=self.dt_min,
            dt_max=self.dt_max,
            bidirectional=self.bidirectional,
        )
