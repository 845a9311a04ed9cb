"""MTSamples: its table of transcribed notes, and a simulation of it."""

from ehrbench.publishers.mtsamples.samples import MTSamples

__all__ = ["MTSamples"]
