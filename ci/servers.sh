# Shared by the scripts about several servers, besides lib.sh: $pids are those that end with the script.
. ci/lib.sh
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
fail() { echo "FAILED: $*"; tail -n 20 "$folder"/*.log; exit 1; }
wait_for() { # wait_for WHAT COMMAND…
    local said=$1; shift
    for _ in $(seq 900); do "$@" && return 0; sleep 0.1; done
    fail "never: $said"
}
answers() { redis-cli -p "$1" PING 2>/dev/null | grep -q PONG; }
# info PORT FIELD [SECTION]
info() { redis-cli -p "$1" INFO "${3:-replication}" 2>/dev/null | tr -d '\r' | sed -n "s/^$2://p"; }
is_up() { [ "$(info "$1" master_link_status)" = up ]; }
