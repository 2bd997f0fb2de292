#!/usr/bin/env bash
# admin.sh: the admin page in a browser, with load behind it (ci/admin_page.py).
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
out=target/ci/admin
rm -rf "$out"
mkdir -p "$out"
admin=$(free_port)
load=
trap 'stop -9; [ -z "$load" ] || kill $load 2>/dev/null || true; rm -rf "$folder"' EXIT
start --admin-port "$admin" --admin-token secret --slowlog-log-slower-than 0
# What clients call themselves, and what they send, is shown and must not become part of the page.
(printf 'CLIENT SETNAME <b>bold</b>\r\n'; sleep 120) | redis-cli -p "$port" >/dev/null &
named=$!
cli ECHO '<img src=x onerror=alert(1)>' >/dev/null
cli CONFIG SET slowlog-log-slower-than -1 >/dev/null
(while redis-benchmark -p "$port" -q -n 2000 -c 5 -t set,get,lpush,zadd >/dev/null; do :; done) >/dev/null &
load=$!
timeout 120 python3 ci/admin_page.py "http://127.0.0.1:$admin/" secret "$out"
kill $named $load 2>/dev/null || true
