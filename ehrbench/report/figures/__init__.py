"""One figure a file: a function from a run and finished numbers to a ``Figure``. They draw, and compute nothing."""
