#!/usr/bin/env bash
# psync.sh from-redis|to-redis|cli [SECONDS RATE CUTS KEYS]: replication with a real Redis, both ways, while
# data are written and the connection is cut; what redis-cli reads from us.
set -eu
cd "$(dirname "$0")/.."
what=${1:?from-redis, to-redis or cli}
seconds=${2:-6} rate=${3:-5000} cuts=${4:-4} keys=${5:-20000}
. ci/servers.sh
# launch KIND NAME OPTIONS…: the port is in $port.
launch() {
    local kind=$1 name=$2; shift 2
    port=$(free_port)
    mkdir -p "$folder/$name"
    local common=(--port "$port" --dir "$folder/$name" --save "" --repl-diskless-sync-delay 0
        --enable-debug-command yes --repl-backlog-size 64mb)
    case $kind in
    redis) redis-server "${common[@]}" "$@" >"$folder/$name.log" 2>&1 & ;;
    varve) "$VARVE" "${common[@]}" "$@" >"$folder/$name.log" 2>&1 & ;;
    esac
    pids+=($!); disown
    wait_for "$name serves" answers "$port"
}
reached() { [ "$(info "$1" slave_repl_offset)" -ge "$2" ] && is_up "$1"; }
digest() { redis-cli -p "$1" DEBUG DIGEST; }
# in_step MASTER REPLICA…: everything has arrived, and is the same. Expiry is stopped, so that nothing
# changes between two looks.
in_step() {
    local master=$1; shift
    redis-cli -p "$master" DEBUG SET-ACTIVE-EXPIRE 0 >/dev/null
    local end; end=$(info "$master" master_repl_offset)
    for replica in "$@"; do
        wait_for "$replica has everything" reached "$replica" "$end"
        [ "$(digest "$master")" = "$(digest "$replica")" ] || fail "the digests of $master and $replica differ"
    done
    redis-cli -p "$master" DEBUG SET-ACTIVE-EXPIRE 1 >/dev/null
}
follows() { [ "$(info "$1" connected_slaves)" -ge 1 ]; }
# under_load MASTER REPLICA: writes, and cuts the connection meanwhile.
under_load() {
    python3 ci/psync_load.py "$1" "$seconds" "$rate" &
    local load=$!
    for _ in $(seq "$cuts"); do
        sleep "$(python3 -c "print($seconds / ($cuts + 1))")"
        # One that a slow disk holds up has to be back, or nobody is cut off.
        wait_for "a replica to cut off" follows "$1"
        redis-cli -p "$1" CLIENT KILL TYPE replica >/dev/null
    done
    wait $load
}
populate() { redis-cli -p "$1" DEBUG POPULATE "$keys" >/dev/null; python3 ci/psync_load.py "$1" 1 20000 7; }
partial() { [ "$(info "$1" sync_partial_ok stats)" -ge "$2" ]; }
expect_syncs() { # expect_syncs MASTER FULL PARTIAL
    [ "$(info "$1" sync_full stats)" = "$2" ] || fail "$(info "$1" sync_full stats) full synchronizations, not $2"
    # The last one may be back a moment after everything has arrived.
    wait_for "$3 partial synchronizations" partial "$1" "$3"
}

case $what in
from-redis)
    for diskless in yes no; do
        launch redis "redis-$diskless" --repl-diskless-sync $diskless --appendonly no; master=$port
        populate "$master"
        launch varve "varve-$diskless" --replicaof 127.0.0.1 "$master" --appendonly $diskless; replica=$port
        wait_for "the link is up" is_up "$replica"
        under_load "$master" "$replica"
        in_step "$master" "$replica"
        expect_syncs "$master" 1 "$cuts"
        echo "--- varve follows redis (diskless $diskless): in step after $cuts cuts"
    done
    ;;
to-redis)
    launch varve first --appendonly no; first=$port
    populate "$first"
    launch redis second --replicaof 127.0.0.1 "$first" --appendonly no; second=$port
    launch varve third --replicaof 127.0.0.1 "$second" --appendonly no; third=$port
    wait_for "the link is up" is_up "$second"
    wait_for "the link is up" is_up "$third"
    under_load "$first" "$second"
    in_step "$first" "$second" "$third"
    expect_syncs "$first" 1 "$cuts"
    [ "$(info "$first" master_replid)" = "$(info "$third" master_replid)" ] || fail "the histories have different names"
    echo "--- redis follows varve, and varve follows that: in step after $cuts cuts"
    ;;
cli)
    launch varve served --appendonly no; master=$port
    populate "$master"
    redis-cli -p "$master" FUNCTION LOAD "#!lua name=lib
redis.register_function('f', function() return 1 end)" >/dev/null
    redis-cli -p "$master" DEBUG SET-ACTIVE-EXPIRE 0 >/dev/null
    mkdir -p "$folder/loaded"
    redis-cli -p "$master" --rdb "$folder/loaded/dump.rdb" >/dev/null 2>&1 || fail "--rdb"
    launch redis loaded --appendonly no; loaded=$port
    # Redis leaves out what has expired since, so does a look at it here.
    redis-cli -p "$loaded" DEBUG SET-ACTIVE-EXPIRE 0 >/dev/null
    [ "$(redis-cli -p "$loaded" FUNCTION LIST | grep -c lib)" -ge 1 ] || fail "no library in the file"
    for port in "$master" "$loaded"; do
        for db in 0 1 7; do redis-cli -p "$port" -n "$db" --scan >/dev/null; redis-cli -p "$port" -n $db KEYS nosuch >/dev/null; done
    done
    redis-cli -p "$master" DEBUG SET-ACTIVE-EXPIRE 1 >/dev/null
    redis-cli -p "$loaded" DEBUG SET-ACTIVE-EXPIRE 1 >/dev/null
    same() { [ "$(digest "$master")" = "$(digest "$loaded")" ]; }
    wait_for "the file holds what the server has" same
    redis-cli -p "$master" --functions-rdb "$folder/functions.rdb" >/dev/null 2>&1 || fail "--functions-rdb"
    head -c 5 "$folder/functions.rdb" | grep -q REDIS || fail "no file of functions"
    grep -q register_function "$folder/functions.rdb" || fail "no function in the file"
    redis-cli -p "$master" --replica >"$folder/stream" 2>/dev/null &
    pids+=($!); disown
    streamed() { redis-cli -p "$master" SET streamed 1 >/dev/null; grep -q '"SET","streamed"' "$folder/stream"; }
    wait_for "redis-cli --replica shows the stream" streamed
    echo "--- redis-cli --rdb, --functions-rdb, --replica"
    ;;
*) echo "from-redis, to-redis or cli"; exit 2 ;;
esac
