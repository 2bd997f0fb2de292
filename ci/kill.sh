#!/usr/bin/env bash
# kill.sh STORAGE: what was acknowledged survives kill -9, several times over; what was deleted is
# cleaned up although the server was killed in the middle of it.
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
    # A rewrite (for sled and fjall: a checkpoint) under way is one more moment to be killed in.
    [ $round = 1 ] || cli BGREWRITEAOF >/dev/null
    stop -9
    echo "--- $1: killed after $written writes"
done
start --storage "$1" --appendonly yes
expect "$written" "$(cli DBSIZE)"
cli BGREWRITEAOF >/dev/null
for _ in $(seq 100); do cli INFO persistence | grep -q aof_rewrite_in_progress:0 && break; sleep 0.1; done
cli INFO persistence | grep -q aof_last_bgrewrite_status:ok
expect OK "$(cli SET after rewrite)"
written=$((written + 1))
stop -TERM
start --storage "$1" --appendonly yes
expect "$written" "$(cli DBSIZE)"
# A large key goes at once, its elements go later: killed meanwhile, the next start goes on.
for from in $(seq 1 1000 100000); do echo "SADD large $(seq -s ' ' "$from" $((from + 999)))"; done | cli >/dev/null
expect 100000 "$(cli SCARD large)"
expect 1 "$(cli UNLINK large)"
stop -9
start --storage "$1" --appendonly yes
expect "$written" "$(cli DBSIZE)"
if [ "$1" != memory ]; then
    figure() { cli INFO memory | tr -d '\r' | sed -n "s/^varve_storage_lazy_$1://p"; }
    for _ in $(seq 300); do [ "$(figure cleaning_pending)" = 1 ] || break; sleep 0.1; done
    expect 0 "$(figure cleaning_pending)"
    [ "$(figure cleaned_records)" -gt 0 ] || { echo "nothing was cleaned up after the restart"; exit 1; }
    echo "--- $1: killed while cleaning up, $(figure cleaned_records) records cleaned after the restart"
fi
stop -TERM
