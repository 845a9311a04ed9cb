"""One figure a file: from a run and finished numbers to a ``Figure``. They draw, and compute nothing."""
