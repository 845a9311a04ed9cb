"""The spine: folds, search, stacking and evaluation, without knowing any modality, model or target kind.

Imports core, metrics and ensemble; never torch, lightning, lightgbm, hydra, mlflow or fastapi.
"""
