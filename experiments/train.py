"""Train: python experiments/train.py model=ssm protocol=nested

Cross-validates one configuration, no search. For small sweeps, which minimise as all of Hydra's do (the inner
AUROC comes negated):
python experiments/train.py -m hydra/sweeper=optuna hydra.sweeper.n_trials=10 model=lightgbm \\
    'model.lightgbm.build.num_leaves=range(4,32)'
``ehrbench train`` is the same.
"""

import sys

from ehrbench.app.command.commands import run

if __name__ == "__main__":
    run("train", sys.argv[1:])
