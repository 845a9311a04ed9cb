"""ehrbench: hyperparameter search and nested cross-validation for clinical prediction."""

__version__ = "0.1.0"
