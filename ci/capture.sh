#!/usr/bin/env bash
# capture.sh: traffic recorded from us and from redis-server; the counts agree with the servers' own; advice from it.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
redis=
trap '[ -z "$redis" ] || kill -9 $redis; stop -9; rm -rf "$folder"' EXIT

# calls COMMAND: how often the server says it ran.
calls() { cli INFO commandstats | tr -d '\r' | sed -n "s/^cmdstat_$1:calls=\([0-9]*\),.*/\1/p"; }
# record METHOD: captures while redis-benchmark runs, and compares counts.
record() {
    cli CONFIG RESETSTAT >/dev/null
    "$VARVE" capture --from "127.0.0.1:$port" --seconds 300 --out "$folder/$1.varve" --hash-keys --scrub-values >"$folder/said" 2>/dev/null &
    recorder=$!
    for _ in $(seq 50); do cli INFO commandstats | grep -qi "cmdstat_$1:" && break; sleep 0.1; done
    redis-benchmark -p "$port" -t set,get,lpush -n 2000 -c 10 -r 1000 -d 32 -q >/dev/null
    cli --raw SET "line$(printf '\n')break" $'a"b\\\n\x01' >/dev/null
    cli BLPOP nothing 0.01 >/dev/null
    ran=$(($(calls set) + $(calls get) + $(calls lpush) + $(calls blpop)))
    sleep 0.5; kill -INT $recorder; wait $recorder
    cat "$folder/said"
    grep -q "^$(echo "$1" | tr a-z A-Z): " "$folder/said" || { echo "not by $1"; exit 1; }
    "$VARVE" capture --count "$folder/$1.varve" >"$folder/counts"
    seen=$(awk '$2 ~ /^(set|get|lpush|blpop)$/ { sum += $1 } END { print sum }' "$folder/counts")
    expect "$ran" "$seen"
}

start --appendonly no
record capture
stop
if command -v redis-server >/dev/null; then
    port=$(free_port)
    redis-server --port "$port" --save "" --dir "$folder" >/dev/null & redis=$!
    for _ in $(seq 50); do cli PING 2>/dev/null | grep -q PONG && break; sleep 0.1; done
    record monitor
fi
"$VARVE" advise "$folder/capture.varve" --speed max --durability none --runtimes epoll-inline,tokio --storages memory \
    --dir "$folder" --out "$folder/advised.conf" 2>/dev/null
grep -q '^storage memory$' "$folder/advised.conf"
# A file cut off is replayed as far as it goes; a damaged one is refused.
head -c -30 "$folder/capture.varve" >"$folder/cut.varve"
"$VARVE" capture --count "$folder/cut.varve" 2>&1 | grep -q "cut off"
printf X | dd of="$folder/capture.varve" bs=1 seek=2000 conv=notrunc 2>/dev/null
! "$VARVE" advise "$folder/capture.varve" 2>"$folder/said" || exit 1
grep -q "damaged at byte" "$folder/said"
echo "capture: ok"
