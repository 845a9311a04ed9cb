#!/usr/bin/env bash
# From a fresh clone to a searched, judged and servable model, in one command.
#
#   scripts/quickstart.sh [OVERRIDES...]     for example: scripts/quickstart.sh n_trials=5 models=[ssm,lightgbm]
#
# Makes .venv (scripts/environment.sh), finds data, and runs experiments/search.py +experiment=quickstart.
# Data: the folder EHRBENCH_DATA if it is set (in the environment or .env); else the publisher's files, downloaded
# to data/; else, without a network, a simulated cohort in data/simulated, named so on every figure.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
bin="$root/.venv/bin"

say() { printf '\n\033[1m==>\033[0m %s\n' "$*"; }

override() {  # the last value given for key $1 among the other arguments, else $2
    local key="$1" value="$2" argument
    shift 2
    for argument in "$@"; do
        case "$argument" in "$key="* | "+$key="* | "++$key="*) value="${argument#*=}" ;; esac
    done
    printf '%s' "$value"
}

scripts/environment.sh

chosen=()
if [ -z "${EHRBENCH_DATA:-}" ]; then
    EHRBENCH_DATA="$("$bin/python" -c 'from ehrbench.infra.settings import Environment; print(Environment.read().ehrbench_data)')"
fi
if [ -n "$EHRBENCH_DATA" ]; then
    say "Data: EHRBENCH_DATA=$EHRBENCH_DATA"
else
    # A search refuses what cannot be before it reads data; a download takes longer, so ask before it, too.
    config="$("$bin/python" experiments/search.py +experiment=quickstart "$@" --cfg job --resolve)"
    "$bin/python" -c 'import sys; from omegaconf import OmegaConf; from ehrbench.app.composed import checking, entry; from ehrbench.app.wired import wiring
entry.guarded(lambda c: wiring.plan(checking.check(c)), OmegaConf.create(sys.stdin.read()))' <<<"$config"
    task="$(override task mortality "$@")"
    say "Data: the publisher's files, to data/"
    EHRBENCH_DATA=data
    status=0
    "$bin/ehrbench" data get "$task" || status=$?
    if [ "$status" = 2 ]; then  # said in one line; Ctrl-C (130) and a fault of ours (1) are no reasons to simulate
        EHRBENCH_DATA=data/simulated
        cat <<'NOTICE'

################################################################################################
#                                                                                              #
#   SIMULATED PATIENTS. The publisher's files could not be had (the line above says why), so   #
#   what follows runs on a made-up cohort: it shows that everything works, and says nothing    #
#   about any patient or model. Every run and figure is tagged cohort=simulated.               #
#                                                                                              #
#   With the files on this machine:  EHRBENCH_DATA=FOLDER scripts/quickstart.sh                #
#   From a mirror:                   .venv/bin/ehrbench data get TASK --from URL               #
#                                                                                              #
################################################################################################

NOTICE
        # A study of its own, so that real data may come later under the usual name.
        chosen=(study_name=quickstart-simulated)
        if [ ! -f "$EHRBENCH_DATA/.complete-$task" ]; then
            "$bin/ehrbench" data simulate "$task" --root "$EHRBENCH_DATA"
            touch "$EHRBENCH_DATA/.complete-$task"
        fi
    elif [ "$status" != 0 ]; then
        exit "$status"
    fi
fi
export EHRBENCH_DATA

say "Search: experiments/search.py +experiment=quickstart $*"
"$bin/python" experiments/search.py +experiment=quickstart ${chosen[@]+"${chosen[@]}"} "$@"

say "Next, from $root: read the report in a browser, compare all trials, serve the winner (commands above)"
echo "A real search: .venv/bin/python experiments/search.py n_trials=100"
