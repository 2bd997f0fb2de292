#!/usr/bin/env bash
# clients.sh full|quick RUNTIME [OPTIONS]: what people use, against the real binary: redis-cli, the clients of Python, Node and
# Rust, queues on them. After ci/clients/install.sh. `full redis-server` runs the same against a real Redis, and must pass too.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
share=$1 runtime=$2; shift 2
if [ "$runtime" = redis-server ]; then
    VARVE=redis-server start --appendonly no --databases 64
else
    start --appendonly no --databases 64 --runtime "$runtime" "$@"
fi
echo "--- redis-cli, $runtime $*"
expect OK "$(cli SET greeting hello)"
expect hello "$(cli GET greeting)"
expect $'1) "one"\n2) "two"' "$(cli --no-raw HKEYS "$(cli HSET h one 1 two 2 >/dev/null; echo h)")"
expect PONG "$(cli -3 PING)"
expect 3 "$(printf 'SET n 1\nINCR n\nINCR n\n' | cli | tail -n 1)"
expect PONG "$(printf 'PING\r\n' | timeout 5 python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"PING\r\n")
print(s.recv(100).decode().strip().lstrip("+"))' "$port")"

echo "--- client-side caching"
# Alone: a FLUSHDB of anybody has every client forget everything.
for venv in target/ci/venv target/ci/venv-jobs; do
    [ ! -x $venv/bin/python ] || $venv/bin/python ci/clients/python/redis_py_caching.py "$port" 0
done

# All at the same time, each in a database of its own: that is how a server is used.
node=node
[ -x target/ci/node/newer/node_modules/.bin/node ] && node=target/ci/node/newer/node_modules/.bin/node
database=0 pids=() names=()
run() { # run NAME NEEDS COMMAND…: COMMAND PORT DATABASE, if the file NEEDS is there
    local name=$1 needs=$2; shift 2
    database=$((database + 1))
    [ -e "$needs" ] || { echo "SKIPPED $name: not installed"; return 0; }
    timeout 120 "$@" "$port" $database >"$folder/$name.out" 2>&1 &
    pids+=($!) names+=("$name")
}
python() { # python VENV PROGRAM…
    local venv=target/ci/$1; shift
    for program in "$@"; do run "${venv##*/}-$program" $venv/bin/python $venv/bin/python "ci/clients/python/$program.py"; done
}
npm() {
    for program in "$@"; do run "npm-$program" target/ci/node/installed "$node" "target/ci/node/$program.js"; done
}
echo "--- Python, Node, Rust"
python venv redis_py_programs redis_py_messages redis_py_asyncio
npm ioredis node_redis
run rust target/ci/rust/debug/rust-client target/ci/rust/debug/rust-client
if [ "$share" = full ]; then
    python venv redis_py_data
    python venv-jobs celery_jobs rq_jobs redis_py_data redis_py_programs redis_py_messages redis_py_asyncio
    npm bullmq
fi
failed=0
for i in "${!pids[@]}"; do
    wait "${pids[$i]}" || { failed=1; echo "FAILED: ${names[$i]}"; }
    cat "$folder/${names[$i]}.out"
done
[ $failed = 0 ] || { tail -n 20 "$folder/log"; exit 1; }

if [ "$share" = full ]; then
    echo "--- redis-benchmark"
    redis-benchmark -p "$port" -t ping,set,get,incr,hset,zadd,mset -P 16 -n 200000 -q | tr '\r' '\n' | grep 'requests per second'
fi
expect PONG "$(cli PING)"
stop -TERM
