#!/usr/bin/env bash
# clients.sh PYTHON RUNTIME [OPTIONS]: redis-cli, redis-py and redis-benchmark against the real binary.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
python=$1 runtime=$2; shift 2
start --appendonly no --runtime "$runtime" "$@"
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
echo "--- redis-py"
"$python" ci/redis_py.py "$port"
echo "--- redis-benchmark"
redis-benchmark -p "$port" -t ping,set,get,incr,hset,zadd,mset -P 16 -n 200000 -q | tr '\r' '\n' | grep 'requests per second'
expect PONG "$(cli PING)"
stop -TERM
