"""The run that the report's tests read, for its predictions."""

from tests.report.conftest import binary, binary_folder

__all__ = ["binary", "binary_folder"]
