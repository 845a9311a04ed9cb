#!/usr/bin/env bash
# All that needs a GPU, within ten minutes of a machine that has one: Python 3.11-3.13, torch 2.11 or later and what
# pyproject.toml lists for models (no MLflow, no database). Prints a short table last, and exits with 1 where a part failed.
#
#   benchmarks/gpu.sh [FOLDER]    the parts' whole output goes there (a temporary folder)
#
# EHRBENCH_PYTHON: the interpreter (python). EHRBENCH_DATA: the publishers' files; without it patients are simulated.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${EHRBENCH_PYTHON:-python}" out="${1:-$(mktemp -d)}"
export OMP_NUM_THREADS=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"

"$python" -c 'import torch; assert torch.cuda.is_available(), "torch sees no GPU"; print(torch.cuda.get_device_name(), "torch", torch.__version__)' || exit 1
failed=0
part() {  # part NAME SECONDS COMMAND…: its output in a file, its end in the table
    local name="$1" limit="$2" began=$SECONDS code=0
    shift 2
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
    table+="$(printf '%-10s %-8s %4d s  %s' "$name" "$([ $code = 0 ] && echo done || echo "rc $code")" $((SECONDS - began)) "$(tail -n 1 "$out/$name.txt" | cut -c1-120)")"$'\n'
    [ $code = 0 ] || failed=1
}

table=""
part on_gpu 150 "$python" -m pytest -q -p no:cacheprovider -p no:xdist tests/models/on_gpu.py
part together 150 "$python" -m benchmarks.folds_together trainer.accelerator=gpu
part layers 60 "$python" -m benchmarks.recurrences
# a nested search of both sequence networks in small: five trials of a hundred; time goes with their number
part search 200 "$python" -m benchmarks.gpu_search n_trials=5

printf '\n'
cat "$out"/together.txt "$out"/layers.txt "$out"/search.txt
printf '\n%s(all output: %s)\n' "$table" "$out"
exit $failed
