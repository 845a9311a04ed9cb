"""Networks in plain PyTorch: no records, no training loop.

Every network takes the arrays of one view by name and returns scores (B, C); see ``network.Network``.
"""
