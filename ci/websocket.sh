#!/usr/bin/env bash
# websocket.sh: a page in headless Chromium writes and reads through WebSocket, on each runtime; one of an origin that is not
# named is refused.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
web=$(free_port) site=$(free_port)
profile=$(mktemp -d)
server_of_pages=
trap 'stop -9; [ -z "$server_of_pages" ] || kill $server_of_pages 2>/dev/null || true; rm -rf "$folder" "$profile"' EXIT
cat >"$profile/page.html" <<HTML
<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script>
const socket = new WebSocket("ws://127.0.0.1:$web/")
let said = ""
const tell = (text) => fetch("/said", { method: "POST", body: text })
socket.binaryType = "arraybuffer"
socket.onopen = () => socket.send("SET from page\r\nGET from\r\nPUBLISH c m\r\n")
socket.onmessage = ({ data }) => {
    said += new TextDecoder().decode(data)
    if (said.endsWith(":0\r\n")) tell(said.replaceAll("\r\n", " "))
}
socket.onerror = () => tell("refused")
</script>
HTML
# Serves the page, and writes down what it said.
python3 - "$site" "$profile" <<'PYTHON' &
import http.server, sys
class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Type", "text/html"); self.end_headers()
        self.wfile.write(open(f"{sys.argv[2]}/page.html", "rb").read())
    def do_POST(self):
        open(f"{sys.argv[2]}/said", "wb").write(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()
PYTHON
server_of_pages=$!
page() { # what the page says
    rm -rf "$profile/user" "$profile/said"
    chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync \
        --disable-component-update --disable-dev-shm-usage --user-data-dir="$profile/user" --remote-debugging-port=0 \
        "http://127.0.0.1:$site/" >"$profile/log" 2>&1 &
    local browser=$!
    for _ in $(seq 300); do [ -s "$profile/said" ] && break; sleep 0.1; done
    kill $browser 2>/dev/null || true; wait $browser 2>/dev/null || true
    cat "$profile/said" 2>/dev/null || tail -n 5 "$profile/log"
}
for runtime in "epoll --epoll-execution inline" "epoll --epoll-execution pool" tokio threads; do
    start --websocket-port "$web" --websocket-origins "http://127.0.0.1:$site" --runtime $runtime
    # shellcheck disable=SC2016
    expect '+OK $4 page :0 ' "$(page)"
    expect page "$(cli GET from)"
    [ "$runtime" != tokio ] || { cli CONFIG SET websocket-origins https://example.org >/dev/null; expect refused "$(page)"; }
    stop -9
    echo "$runtime: a page wrote and read"
done
