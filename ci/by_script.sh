#!/usr/bin/env bash
# by_script.sh N COMMAND…: COMMAND FAMILY/NAME for every golden script, N at a time, because they mostly wait for answers that must
# not come; those with the most such waits begin. Prints the output of each that fails; fails if any does.
set -u
cd "$(dirname "$0")/.."
jobs=$1; shift
waits() { grep -c '(waiting)' "${1%.txt}.snap" 2>/dev/null || true; }
scripts=$(for script in golden/scripts/*/*.txt; do echo "$(waits "$script") $script"; done | sort -nr |
    sed 's|^[0-9]* *golden/scripts/||; s|\.txt$||')
xargs -P "$jobs" -I SCRIPT bash -c 'out=$("$@" SCRIPT 2>&1) || { printf "%s: %s\n" SCRIPT "$out"; exit 1; }' by_script "$@" \
    <<<"$scripts" || exit 1
echo "$(wc -l <<<"$scripts") scripts: as they should be"
