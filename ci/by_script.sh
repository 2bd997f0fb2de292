#!/usr/bin/env bash
# by_script.sh N COMMAND…: COMMAND FAMILY/NAME for every golden script, N at a time, because they mostly wait for answers that must
# not come; those with the most such waits begin. Prints the output of each that fails; fails if any does.
set -u
cd "$(dirname "$0")/.."
jobs=$1; shift
if grep -c '(waiting)' golden/scripts/*/*.snap | sort -t: -k2 -nr | sed 's|^golden/scripts/||; s|\.snap:.*$||' |
    xargs -P "$jobs" -I SCRIPT bash -c 'out=$("$@" SCRIPT 2>&1) || { printf "%s: %s\n" SCRIPT "$out"; exit 1; }' by_script "$@"; then
    echo "$(ls golden/scripts/*/*.txt | wc -l) scripts: as they should be"
else
    exit 1
fi
