"""Search: python experiments/search.py n_trials=100 task=mortality models=[ssm,lstm,lightgbm] protocol=nested

Spends an exact budget of Optuna trials a study on inner folds, judges the chosen procedure on outer folds,
and leaves summary, predictions, report and bundle under runs_dir/study_name. Run it again, or on more
machines, and it goes on where it stopped. ``ehrbench search`` is the same.
"""

import sys

from ehrbench.app.command.commands import run

if __name__ == "__main__":
    run("search", sys.argv[1:])
