#!/usr/bin/env bash
# Keeps workers of a search running on this machine: as many as asked for, started again when they crash.
#
#   scripts/worker.sh [-n WORKERS] SEARCH_ARGUMENTS...
#   scripts/worker.sh -n 4 study_name=icu storage=mysql n_trials=100
#
# Give the arguments of the search itself: a worker spends tickets of the same studies and leaves judging and
# exporting to whoever runs experiments/search.py. Without -n: one worker for each GPU, or one. With GPUs, worker i
# has GPU i (modulo their number) for itself. It ends with 0 when every ticket is spent; Ctrl-C or SIGTERM gives
# the running trials back, so that another worker takes them over at once.
set -uo pipefail
set -m  # without job control, bash would start its children deaf to SIGINT

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
python="${EHRBENCH_WORKER_PYTHON:-$root/.venv/bin/python}"
longest_pause_s=60
proven_s=60  # a worker that ran this long had a configuration that works

gpus=0
if command -v nvidia-smi >/dev/null; then gpus="$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')"; fi
workers=$((gpus > 0 ? gpus : 1))
if [ "${1:-}" = -n ]; then
    workers="${2:-}"
    shift 2 || true
fi
case "$workers" in "" | 0 | *[!0-9]*) echo "worker: -n '$workers' is not a number of workers" >&2; exit 2 ;; esac
[ -x "$python" ] || { echo "worker: no $python - run scripts/environment.sh first" >&2; exit 2; }

keep() {  # keep NUMBER ARGUMENTS...: one worker, until its search is spent or it cannot be helped
    local number="$1" failures=0 proven="" child="" status started pause
    shift
    set -m  # a subshell forgets it
    if [ "$gpus" -gt 0 ]; then export CUDA_VISIBLE_DEVICES=$(((number - 1) % gpus)); fi
    # TERM, not INT: a job started in the background by a shell without job control inherits INT ignored.
    trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 130' INT TERM
    while :; do
        started=$SECONDS
        EHRBENCH_WORKER="$number" "$python" experiments/search.py "$@" &
        child=$!
        wait "$child"
        status=$?
        if [ $((SECONDS - started)) -ge "$proven_s" ]; then proven=yes failures=0; fi
        case "$status" in
            0) echo "worker $number: done"; return 0 ;;
            2) if [ -z "$proven" ]; then return 2; fi ;;  # a fault in the configuration: it said so itself
            130) return 130 ;;
        esac
        failures=$((failures + 1))
        pause=$((2 ** (failures < 6 ? failures : 6)))
        if [ "$pause" -gt "$longest_pause_s" ]; then pause="$longest_pause_s"; fi
        echo "worker $number: ended with $status, starting again in $pause s" >&2
        sleep "$pause" & child=$!
        wait "$child"
    done
}

children=()
stop() {
    trap '' INT TERM
    kill -TERM "${children[@]}" 2>/dev/null
    wait "${children[@]}"
    exit 130
}
trap stop INT TERM
for number in $(seq "$workers"); do
    keep "$number" "$@" &
    children+=($!)
done
result=0
for child in "${children[@]}"; do
    wait "$child" || result=$?
done
exit "$result"
