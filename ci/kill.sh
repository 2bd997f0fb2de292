#!/usr/bin/env bash
# kill.sh STORAGE: what was acknowledged survives kill -9, several times over.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
written=0
for round in 1 2 3; do
    start --storage "$1" --appendonly yes --appendfsync everysec
    expect "$written" "$(cli DBSIZE)"
    [ "$written" = 0 ] || expect "value-$written" "$(cli GET "key-$written")"
    for i in $(seq $((written + 1)) $((written + 500))); do echo "SET key-$i value-$i"; done | cli | sort | uniq -c
    written=$((written + 500))
    stop -9
    echo "--- $1: killed after $written writes"
done
start --storage "$1" --appendonly yes
expect "$written" "$(cli DBSIZE)"
stop -TERM
start --storage "$1" --appendonly yes
expect "$written" "$(cli DBSIZE)"
stop -TERM
