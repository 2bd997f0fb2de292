#!/usr/bin/env bash
# metrics.sh: Debian's Prometheus scrapes a server under load: counters move, every panel of the dashboard shows something, and each
# alert of deploy/ goes off when it should. The systemd unit is checked where systemd's tools are.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
admin=$(free_port) web=$(free_port)
for check in "check config prometheus.yml" "test rules alerts_test.yml"; do
    (cd deploy/prometheus && promtool $check >/dev/null) || { (cd deploy/prometheus && promtool $check); exit 1; }
done
start --appendonly yes --admin-port "$admin"
store=$(mktemp -d)
prometheus=
trap '[ -z "$prometheus" ] || kill $prometheus 2>/dev/null || true; stop -9; rm -rf "$folder" "$store"' EXIT
cat >"$store/prometheus.yml" <<YAML
global: {scrape_interval: 1s}
scrape_configs: [{job_name: varve, static_configs: [{targets: ["127.0.0.1:$admin"]}]}]
YAML
prometheus --config.file="$store/prometheus.yml" --storage.tsdb.path="$store/data" --web.listen-address="127.0.0.1:$web" \
    >"$store/log" 2>&1 &
prometheus=$!
value() { # value QUERY: its first value, or nothing
    python3 - "$web" "$1" <<'PYTHON'
import json, sys, urllib.parse, urllib.request
try:
    url = f"http://127.0.0.1:{sys.argv[1]}/api/v1/query?" + urllib.parse.urlencode({"query": sys.argv[2]})
    found = json.load(urllib.request.urlopen(url, timeout=5))["data"]["result"]
    print(found[0]["value"][1] if found else "")
except OSError:
    print("")
PYTHON
}
expect_at_least() { # expect_at_least LEAST QUERY: within half a minute
    for _ in $(seq 60); do
        got=$(value "$2")
        [ -n "$got" ] && python3 -c "import sys; sys.exit(not float('$got') >= $1)" && return 0
        sleep 0.5
    done
    echo "expected $2 to be at least $1, got '$got'"; tail -5 "$store/log"; exit 1
}
expect_at_least 1 up
cli LPUSH list element >/dev/null
cli GET list >/dev/null 2>&1 # an error to count
redis-benchmark -p "$port" -t set,get -n 20000 -P 16 -q >/dev/null
expect_at_least 20000 'varve_cmdstat_calls_total{command="set"}'
expect_at_least 20000 'varve_command_duration_seconds_bucket{command="get",le="+Inf"}'
expect_at_least 1 varve_db_keys
expect_at_least 1 'histogram_quantile(0.99, varve_command_duration_seconds_bucket{command="get"}) > bool 0'
# Every expression of the dashboard, with all servers chosen.
python3 -c "import json
for panel in json.load(open('deploy/grafana/varve.json'))['panels']:
    for target in panel['targets']: print(target['expr'].replace('\$instance', '.*'))" >"$store/expressions"
while read -r expression; do
    [ -n "$(value "$expression")" ] || { echo "the dashboard shows nothing for: $expression"; exit 1; }
done <"$store/expressions"
unit="the systemd unit was not checked: no systemd-analyze"
if command -v systemd-analyze >/dev/null; then
    sed "s|/usr/bin/varve|$PWD/$VARVE|" deploy/systemd/varve.service >"$store/varve.service"
    systemd-analyze verify "$store/varve.service" 2>"$store/verified" || true
    ! grep varve.service "$store/verified" || exit 1
    unit="the systemd unit is as systemd wants it"
fi
took=$(value scrape_duration_seconds)
echo "Prometheus scraped $(value scrape_samples_scraped) samples in $took s, $(wc -l <"$store/expressions") expressions shown; $unit"
