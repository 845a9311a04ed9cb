#!/usr/bin/env bash
# Makes .venv from poetry.lock with nothing but Python 3.11-3.13 and pip, and does nothing when it is up to date.
#
#   scripts/environment.sh          what a search, a bundle and the server need
#   scripts/environment.sh --dev    and what tests and linters need; tests use S3, DVC, wandb and mkdocs, too
#
# Environment variables:
#   EHRBENCH_PYTHON         the interpreter to use, instead of the first suitable one on the PATH
#   EHRBENCH_TORCH_WHEELS   a folder of wheels or the URL of an index that has PyTorch's builds for this machine
#   EHRBENCH_CPU_ONLY=1     install the CPU build of PyTorch although there is a GPU
#   EHRBENCH_EXTRAS=s3      also what an s3:// URL for ARTIFACTS_URL needs; slurm, docs, dvc, …: the others
#                           of pyproject.toml, such as s3,slurm
#   EHRBENCH_ALLOW_CUDA=1   take whatever build of PyTorch pip finds, CUDA's gigabytes included
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
groups=main extras="${EHRBENCH_EXTRAS:-}"
case "${1:-}" in
    --dev) groups="main dev" extras="s3,docs,dvc,wandb,$extras" ;;
    "") ;;
    *) echo "environment: unknown argument $1 (only --dev is known)" >&2; exit 2 ;;
esac

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
stop() { printf 'environment: %s\n' "$*" >&2; exit 1; }

suitable() {  # the interpreter answers, and its version is one of ours
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${EHRBENCH_PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if suitable "$candidate"; then command -v "$candidate"; return; fi
    done
    return 1
}

has_gpu() {
    [ "${EHRBENCH_CPU_ONLY:-}" != 1 ] && command -v nvidia-smi >/dev/null && timeout 30 nvidia-smi -L 2>/dev/null | grep -q GPU
}

which_torch() {  # any, cpu or cuda: see scripts/locked.py
    if [ "${EHRBENCH_ALLOW_CUDA:-}" = 1 ] || [ "$(uname -s)" != Linux ]; then echo any
    elif has_gpu; then echo cuda
    else echo cpu; fi
}

if suitable "$venv/bin/python"; then
    base="$venv/bin/python"
else
    base="$(find_python)" || stop "needs Python 3.11, 3.12 or 3.13, and none is on the PATH${EHRBENCH_PYTHON:+ as $EHRBENCH_PYTHON} - install one, or name it in EHRBENCH_PYTHON"
fi

torch="$(which_torch)"
digest="$("$base" "$root/scripts/locked.py" digest) $torch"
parts="$groups ${extras//,/ }"
stamp="$venv/ehrbench-environment"
if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$digest" ]; then
    made_with=" $(sed -n 2p "$stamp") " missing=
    for part in $parts; do
        case "$made_with" in *" $part "*) ;; *) missing="$part" ;; esac
    done
    if [ -z "$missing" ]; then say "Environment .venv is up to date with poetry.lock"; exit 0; fi
fi

if [ "$base" != "$venv/bin/python" ]; then
    "$base" -c 'import ensurepip, venv' 2>/dev/null || stop \
        "$base cannot make virtual environments - on Debian and Ubuntu: apt-get install python3-venv"
    say "Making .venv with $("$base" --version) ($base)"
    "$base" -m venv --clear "$venv"
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python="$venv/bin/python"
rm -f "$stamp"
"$python" "$root/scripts/locked.py" constraints --torch "$torch" >"$work/constraints.txt"
wanted=(--editable "$root${extras:+[${extras%,}]}")
if [ "$groups" != main ]; then
    "$python" "$root/scripts/locked.py" dev >"$work/dev.txt"
    wanted+=(--requirement "$work/dev.txt")
fi
case "${EHRBENCH_TORCH_WHEELS:-}" in
    "") ;;
    *://*) wanted+=(--extra-index-url "$EHRBENCH_TORCH_WHEELS") ;;
    *) [ -d "$EHRBENCH_TORCH_WHEELS" ] || stop "EHRBENCH_TORCH_WHEELS: no folder $EHRBENCH_TORCH_WHEELS"
       wanted+=(--find-links "$EHRBENCH_TORCH_WHEELS") ;;
esac

say "Installing $(wc -l <"$work/constraints.txt" | tr -d ' ') locked packages at most (groups: $parts; torch: $torch)"
# torch stands first and with its build, so that its absence is the first thing pip says, before any download.
# Modules are compiled when they are first imported: most never are, and it halves the time.
if ! PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --no-input --no-compile \
        --constraint "$work/constraints.txt" "$(grep '^torch==' "$work/constraints.txt")" "${wanted[@]}" \
        2>"$work/errors.txt"; then
    cat "$work/errors.txt" >&2
    if [ "$torch" = cpu ] && grep -Eq '(Cannot install|No matching distribution for) torch==' "$work/errors.txt"; then
        stop "no GPU is visible, and pip finds no CPU build of torch for $("$python" --version) where it looks; \
set EHRBENCH_TORCH_WHEELS to a folder of wheels or to the index of CPU builds that PyTorch's installation page \
names, or EHRBENCH_ALLOW_CUDA=1 to download the CUDA build (about 3 GB)"
    fi
    stop "pip failed; nothing else was changed, and the next run goes on from here"
fi
printf '%s\n%s\n' "$digest" "$parts" >"$stamp"
say "Environment ready: $venv ($("$python" -c 'import ehrbench, torch; print("torch", torch.__version__)'))"
