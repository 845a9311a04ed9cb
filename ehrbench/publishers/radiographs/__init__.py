"""Chest radiographs as published: a folder per class (Kermany), NIH ChestX-ray14, CheXpert; simulated."""

from ehrbench.publishers.radiographs.chexpert import CheXpert
from ehrbench.publishers.radiographs.kermany import Kermany
from ehrbench.publishers.radiographs.nih import NIH

__all__ = ["NIH", "CheXpert", "Kermany"]
