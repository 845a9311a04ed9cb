"""The contracts every other floor is written against: records, views, tasks, models, metrics, ledger, errors.

Imports nothing of ehrbench but itself, and no torch, lightgbm, hydra, mlflow or fastapi.
"""
