#!/usr/bin/env bash
# admin.sh: the admin page in a browser, with load behind it (ci/admin_page.py).
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
out=target/ci/admin
rm -rf "$out"
mkdir -p "$out"
admin=$(free_port)
load='' named=''
finish() {
    exec 9>&- # the end of what the named client sends
    rm -f "$folder/loading"
    stop -9 # the load ends with its server
    wait $load $named 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
start --admin-port "$admin" --admin-token secret --slowlog-log-slower-than 0
# What clients call themselves, and what they send, is shown and must not become part of the page.
mkfifo "$folder/named"
redis-cli -p "$port" <"$folder/named" >/dev/null 2>&1 &
named=$!
exec 9>"$folder/named"
echo 'CLIENT SETNAME <b>bold</b>' >&9
cli ECHO '<img src=x onerror=alert(1)>' >/dev/null
cli CONFIG SET slowlog-log-slower-than -1 >/dev/null
touch "$folder/loading"
(exec 9>&-; while [ -e "$folder/loading" ] && redis-benchmark -p "$port" -q -n 2000 -c 5 -t set,get,lpush,zadd; do :; done) >/dev/null 2>&1 &
load=$!
timeout 240 python3 ci/admin_page.py "http://127.0.0.1:$admin/" secret "$out" 9>&-
