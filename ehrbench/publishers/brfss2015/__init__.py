"""CDC BRFSS 2015, health indicators: its table, and a simulation of it."""

from ehrbench.publishers.brfss2015.survey import BRFSS2015

__all__ = ["BRFSS2015"]
