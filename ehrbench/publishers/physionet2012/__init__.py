"""PhysioNet/CinC Challenge 2012: its files, outcomes, and a simulation of them."""

from ehrbench.publishers.physionet2012.challenge import PhysioNet2012

__all__ = ["PhysioNet2012"]
