"""The app: the only place that wires floors together. Hydra composition and the command line."""
