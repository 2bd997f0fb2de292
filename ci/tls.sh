#!/usr/bin/env bash
# TLS with what people use: openssl, redis-cli and redis-py on each runtime, replication with a real Redis both ways, an
# encrypted key, and the CPU per operation, which must not be above that of a redis-server with TLS.
set -eu
cd "$(dirname "$0")/.."
. ci/servers.sh
certify() { # certify NAME: a certificate by our authority
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$folder/$1.key" -out "$folder/$1.csr" -subj "/CN=$1" 2>/dev/null
    openssl x509 -req -in "$folder/$1.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$folder/$1.crt" 2>/dev/null
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$folder/ca.key" -out "$folder/ca.crt" -days 2 -subj "/CN=test" 2>/dev/null
certify server
openssl pkcs8 -topk8 -v2 aes256 -passout pass:open -in "$folder/server.key" -out "$folder/sealed.key"
identity=(--tls-cert-file "$folder/server.crt" --tls-ca-cert-file "$folder/ca.crt")
open=("${identity[@]}" --tls-key-file "$folder/server.key")
secure=(--tls --cert "$folder/server.crt" --key "$folder/server.key" --cacert "$folder/ca.crt")

rings() { # whether the kernel has io_uring: the server says in its first lines that it has not
    local port; port=$(free_port)
    timeout 2 "$VARVE" --runtime uring --port "$port" --save "" --dir "$folder" >"$folder/ring.txt" 2>&1 || [ $? = 124 ]
}
begin() { # begin PROGRAM PORT TLS_PORT OPTIONS…: a server; $begun is its process
    local program=$1 plain=$2 tls=$3; shift 3
    local dir; dir=$(mktemp -d "$folder/XXXXXX")
    "$program" --port "$plain" --tls-port "$tls" --dir "$dir" --save "" "$@" >"$dir.log" 2>&1 &
    begun=$!; pids+=("$begun")
    wait_for "the server on $plain" answers "$plain"
}

for runtime in "epoll --epoll-execution inline" "epoll --epoll-execution pool" tokio threads uring; do
    if [ "$runtime" = uring ] && ! rings; then echo "SKIPPED uring: the kernel refuses io_uring"; continue; fi
    plain=$(free_port) tls=$(free_port)
    begin "$VARVE" "$plain" "$tls" "${identity[@]}" --tls-key-file "$folder/sealed.key" --tls-key-file-pass open --runtime $runtime
    through() { redis-cli -p "$tls" "${secure[@]}" "$@"; }
    expect OK "$(through SET greeting hello)"
    expect hello "$(redis-cli -p "$plain" GET greeting)"
    expect 1000 "$(for i in $(seq 1000); do echo "SET k:$i $i"; done | through | grep -c OK)"
    expect +PONG "$( (printf 'PING\r\n'; sleep 0.3) | openssl s_client -quiet -no_ign_eof -connect "127.0.0.1:$tls" -CAfile "$folder/ca.crt" \
        -cert "$folder/server.crt" -key "$folder/server.key" -verify_return_error 2>/dev/null | tr -d '\r')"
    expect "" "$(redis-cli -p "$tls" --tls --cacert "$folder/ca.crt" PING 2>/dev/null | grep PONG || true)"
    # A resumed session, and the older version of the protocol.
    for version in -tls1_2 -tls1_3; do
        printf 'PING\r\nQUIT\r\n' | openssl s_client -ign_eof "$version" -connect "127.0.0.1:$tls" -CAfile "$folder/ca.crt" -cert "$folder/server.crt" \
            -key "$folder/server.key" -sess_out "$folder/session" >/dev/null 2>&1
        printf 'PING\r\nQUIT\r\n' | openssl s_client -ign_eof "$version" -connect "127.0.0.1:$tls" -CAfile "$folder/ca.crt" -cert "$folder/server.crt" \
            -key "$folder/server.key" -sess_in "$folder/session" 2>/dev/null | grep -q "^Reused, TLSv1" || fail "$runtime: no session resumed ($version)"
    done
    with="redis-cli, openssl (1.2, 1.3, resumed)"
    if [ -x target/ci/venv/bin/python ]; then
        with="$with, redis-py"
        target/ci/venv/bin/python - "$tls" "$folder" <<'PY'
import sys, redis
port, folder = int(sys.argv[1]), sys.argv[2]
r = redis.Redis(port=port, ssl=True, ssl_ca_certs=f"{folder}/ca.crt", ssl_certfile=f"{folder}/server.crt", ssl_keyfile=f"{folder}/server.key")
pipe = r.pipeline(transaction=False)
for i in range(20000):
    pipe.set(f"p:{i}", "x" * 500)
    pipe.get(f"p:{i}")
answers = pipe.execute()
assert answers[1::2] == [b"x" * 500] * 20000
r.set("large", b"y" * 20_000_000)
assert r.get("large") == b"y" * 20_000_000
PY
    else
        echo "SKIPPED redis-py: not installed"
    fi
    kill "$begun"; wait "$begun" || fail "$runtime did not stop in order"
    echo "$runtime: $with"
done

a=$(free_port) at=$(free_port) b=$(free_port) bt=$(free_port) c=$(free_port) ct=$(free_port)
begin redis-server "$a" "$at" "${open[@]}" --tls-replication yes; master=$begun
begin "$VARVE" "$b" "$bt" "${open[@]}" --tls-replication yes --replicaof 127.0.0.1 "$at"; ours=$begun
begin redis-server "$c" "$ct" "${open[@]}" --tls-replication yes --replicaof 127.0.0.1 "$bt"; last=$begun
wait_for "our link to Redis through TLS" is_up "$b"
wait_for "Redis's link to us through TLS" is_up "$c"
redis-benchmark -p "$a" -n 20000 -P 16 -r 10000 -t set,lpush,zadd -q >/dev/null
redis-cli -p "$a" SET last one >/dev/null
arrived() { [ "$(redis-cli -p "$c" GET last)" = one ]; }
wait_for "the last write at the end of the chain" arrived
expect "$(redis-cli -p "$a" DEBUG DIGEST)" "$(redis-cli -p "$c" DEBUG DIGEST)"
expect "$(redis-cli -p "$a" DEBUG DIGEST)" "$(redis-cli -p "$b" DEBUG DIGEST)"
echo "replication through TLS: Redis, Varve, Redis; digests equal"
kill -9 "$master" "$ours" "$last"

# The servers' CPU per operation, both through TLS, in turn.
XTASK=${XTASK:-target/release/xtask}
$XTASK bench --tls --binary "$VARVE" --runtimes epoll-inline --storages memory --aof off --workloads get --pipelines 16 --keys 100000 \
    --rounds 3 --seconds 1 --no-syscalls --dir "$folder/bench" --json "$folder/results.json" >"$folder/bench.txt" || { cat "$folder/bench.txt"; fail "the bench"; }
python3 - "$folder/results.json" <<'PY'
import json, statistics, sys
def cost(name):
    row = next(row for row in json.load(open(sys.argv[1]))["rows"] if row["name"] == name)
    return statistics.median(sample["server"]["cpu_ns"] / sample["replies"] for sample in row["cells"][0]["samples"])
ours, redis = cost("epoll-inline+tls memory"), cost("redis-server+tls")
print(f"CPU of a GET at pipeline 16 through TLS: varve {ours:.0f} ns, redis-server {redis:.0f} ns, ratio {ours / redis:.2f}")
sys.exit(ours > redis)
PY
