"""What the search stands on outside Python: database, artifacts, Optuna's storage, MLflow, settings."""
