"""Models: one file each. Every model takes ``target`` and ``featurizer`` and settings by name.

Only the network modules import torch, and only the tree module imports LightGBM.
"""
