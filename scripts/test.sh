#!/usr/bin/env bash
# Everything that must hold before a change is merged: environment, format, lint, types, floors, tests.
#
#   scripts/test.sh                        all of it
#   scripts/test.sh tests/spine -k folds   arguments go to pytest
#   scripts/test.sh --lint                 all but the tests
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
export PATH="$root/.venv/bin:$PATH"
# Figures repeat bit for bit at one thread count; tests check some to the last bit.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Tests start Python by the dozen: where it may not keep what it compiled, each start compiles thousands of modules.
unset PYTHONDONTWRITEBYTECODE

say() { printf '\n\033[1m==>\033[0m %s\n' "$*"; }

scripts/environment.sh --dev

say "Format and lint"; ruff format --check .; ruff check .
say "Types"; mypy
say "Floors"; lint-imports --no-cache
if [ "${1:-}" = --lint ]; then exit; fi

say "Tests"
if [ -z "${EHRBENCH_DATA:-}" ]; then
    echo "EHRBENCH_DATA is not set: tests on the publishers' files will be skipped."
fi
# Of the whole suite most lines are run (97 % with the publishers' files); a part of it covers a part.
floor=()
if [ $# = 0 ]; then floor=(--cov-fail-under=94); fi
# Three at a time on two cores, since many wait for servers and leases; file by file, since tests of a file share what
# is dear to make; for a debugger: -n 0.
python -m pytest -n 3 --dist loadfile --cov=ehrbench --cov-report=term:skip-covered --durations=10 \
    ${floor[@]+"${floor[@]}"} "$@"
