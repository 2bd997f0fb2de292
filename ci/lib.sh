# Shared by the scripts here: a server of ours on a free port, in a folder of its own.
VARVE=${VARVE:-target/release/varve}
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
folder=$(mktemp -d)
port=$(free_port)
server=
cli() { redis-cli -p "$port" "$@"; }
start() {
    "$VARVE" --port "$port" --dir "$folder" --save "" "$@" >"$folder/log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        cli PING 2>/dev/null | grep -q PONG && return 0
        sleep 0.1
    done
    echo "the server did not start:"; cat "$folder/log"; exit 1
}
stop() { [ -z "$server" ] || { kill "$@" "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; server=; }; }
trap 'stop -9; rm -rf "$folder"' EXIT
expect() { # expect WHAT GOT
    [ "$1" = "$2" ] || { echo "expected '$1', got '$2'"; exit 1; }
}
