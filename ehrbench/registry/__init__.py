"""The registry: bundles under names and versions, and the gate that each must pass before it is served.

``release`` says what is kept and by what contract, ``mlflow_registry`` keeps it; ``gate`` judges;
``promotion`` moves what is served. Judging knows no MLflow.
"""
