"""Evaluate: python experiments/evaluate.py bundle=DIR data.sets=[b]

Scores a bundle on labelled records it has not seen; writes metrics.json and predictions.csv.
``ehrbench evaluate`` is the same.
"""

import sys

from ehrbench.app.command.commands import run

if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
