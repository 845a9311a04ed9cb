"""Predict: python experiments/predict.py bundle=DIR input=FILE_OR_FOLDER output=FILE

Batch inference on raw files without labels. ``ehrbench predict`` is the same.
"""

import sys

from ehrbench.app.command.commands import run

if __name__ == "__main__":
    run("predict", sys.argv[1:])
