"""The spine: folds, search and stacking, without knowing any modality, model or target kind.

Imports core, ensemble and statistics; never torch, lightgbm, hydra, mlflow or fastapi.
"""
