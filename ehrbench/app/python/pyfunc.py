"""A bundle as MLflow's ``pyfunc`` models are: what ``MLmodel`` names as its loader (``runs.layouts``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ehrbench.app.python.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd


class PyfuncModel:
    """``predict`` of a DataFrame: rows, or of a task that reads no tables a record's fields a row."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        task = predictor.bundle.task
        self._reads_tables = any({".csv", ".parquet"} & set(form.endings) for form in task.forms if form.many)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """record, unit, class, probability, decision. Raises DataError naming the first row and field."""
        del params  # there is nothing to set
        if self._reads_tables:
            return self._predictor.predictions(model_input)
        rows = model_input.to_dict("records")
        # a field that another row has is None or NaN here, and was not posted
        given = [{str(k): v for k, v in row.items() if not (v is None or v != v)} for row in rows]
        return self._predictor.predictions(given)


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow's way in."""
    return PyfuncModel(Predictor.load(path))
