#!/usr/bin/env bash
# Licences of what every installation brings (of poetry.lock: neither extras nor what tests need), as a table.
# Ends with 1 at one that would bind whoever passes the whole on (GPL and its kin), named on standard error.
#
#   scripts/licences.sh [PACKAGE...]    of these too, such as an extra's
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
export PATH="$root/.venv/bin:$PATH"

mapfile -t shipped < <(python scripts/locked.py shipped | sed "s/==.*//")
pip-licenses --from=mixed --format=markdown --order=license --with-urls \
    --packages "${shipped[@]}" "$@" --partial-match --fail-on="GPL;GNU;SSPL;Commercial;Proprietary"
