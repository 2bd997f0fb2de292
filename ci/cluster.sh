#!/usr/bin/env bash
# cluster.sh: cluster clients against three nodes with three groups: redis-cli, and those of Python and Node that
# ci/clients/install.sh has installed. Mostly waits: leaders are spread some seconds after the nodes have met.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
ports=() pids=()
trap 'kill -9 ${pids[@]+"${pids[@]}"} 2>/dev/null || true; wait 2>/dev/null; rm -rf "$folder"' EXIT
until_so() { # until_so WHAT COMMAND…: waits for a minute at most
    local what=$1; shift
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    echo "not within a minute: $what"; tail -n 5 "$folder"/*.log; exit 1
}
for _ in 1 2 3; do
    port=$(free_port)
    while [ "$port" -gt 64000 ]; do port=$(free_port); done
    mkdir "$folder/$port"
    "$VARVE" --port "$port" --bind 127.0.0.1 --dir "$folder/$port" --save "" --cluster-enabled yes \
        --cluster-groups 3 >"$folder/$port.log" 2>&1 &
    pids+=($!) ports+=("$port")
    until_so "a node answers" cli PING
done
port=${ports[0]}
figure() { cli CLUSTER INFO | grep -q "^$1:$2"; }
expect OK "$(cli CLUSTER ADDSLOTSRANGE 0 16383)"
expect OK "$(cli CLUSTER MEET 127.0.0.1 "${ports[1]}")"
expect OK "$(cli CLUSTER MEET 127.0.0.1 "${ports[2]}")"
until_so "all vote" figure varve_cluster_voters 3
until_so "each leads a group" figure cluster_size 3
expect OK "$(cli -c SET greeting hello)"
expect hello "$(redis-cli -c -p "${ports[1]}" GET greeting)"
checked=$(redis-cli --cluster check "127.0.0.1:$port")
case "$checked" in *"All 16384 slots covered"*) ;; *) echo "$checked"; exit 1 ;; esac
expect OK "$(cli -c DEL greeting >/dev/null && echo OK)"
run() { # run NAME NEEDS COMMAND…
    local name=$1 needs=$2; shift 2
    if [ -e "$needs" ]; then timeout 60 "$@" "$port" 0; else echo "SKIPPED $name: not installed"; fi
}
run redis-py target/ci/venv/bin/python target/ci/venv/bin/python ci/clients/python/redis_py_cluster.py
node=node
[ -x target/ci/node/newer/node_modules/.bin/node ] && node=target/ci/node/newer/node_modules/.bin/node
run ioredis target/ci/node/installed "$node" target/ci/node/ioredis_cluster.js
