"""CardioSpike: its table of RR recordings, and a simulation of it."""

from ehrbench.publishers.cardiospike.recordings import CardioSpike

__all__ = ["CardioSpike"]
