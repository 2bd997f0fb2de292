#!/usr/bin/env bash
# report.sh [FOLDER]: a short bench; its report.html opened in headless Chromium as on a phone, by day and in the
# dark, and on a desktop: charts are there, no text overlaps or is cut, nothing is fetched, no script fails, and the
# screenshots (kept in FOLDER) show something.
set -eu
cd "$(dirname "$0")/.."
VARVE=${VARVE:-target/release/varve}
XTASK=${XTASK:-cargo run --quiet --package xtask --}
out=${1:-target/ci/report}
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
fail() { echo "$*"; exit 1; }

$XTASK bench --binary "$VARVE" --dir "$out/data" --json "$out/results.json" --rounds 2 --seconds 0.1 \
    --keys 5000 --runtimes epoll-inline,tokio --storages memory,fjall --workloads get,set --pipelines 1,16 \
    >"$out/tables.txt" 2>"$out/errors.txt"
[ ! -s "$out/errors.txt" ] || { cat "$out/errors.txt"; fail "bench wrote to standard error, which is no terminal"; }
[ -s "$out/report.html" ] || fail "no report"

# On a terminal it shows how far it is.
if command -v script >/dev/null; then
    script -qec "$XTASK bench --binary $VARVE --no-peers --runtimes epoll-inline --storages memory --aof off --dir $out/data \
        --json $out/terminal.json --html $out/terminal.html --rounds 1 --seconds 0.1 --keys 1000 --workloads get --pipelines 1" \
        "$out/terminal.txt" </dev/null >/dev/null || fail "bench failed on a terminal"
    grep -q '/[0-9]* .* left ' "$out/terminal.txt" || fail "no progress on a terminal"
fi

# browse WIDTH HEIGHT SCHEME(0 dark, 1 light) ARGUMENT...: what it prints; its log is in $out/log.
browse() {
    local width=$1 height=$2 scheme=$3
    shift 3
    rm -rf "$profile/user"
    timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --user-data-dir="$profile/user" \
        --enable-logging=stderr --window-size="$width,$height" --blink-settings=preferredColorScheme="$scheme" "$@" 2>"$out/log" \
        || { tail "$out/log"; fail "chromium failed"; }
    if grep -E 'CONSOLE|Uncaught' "$out/log"; then fail "the browser's console has messages"; fi
}

# A window is never as narrow as a phone, a frame is. The script is in the copy only.
{ cat "$out/report.html"; echo '<script>'; cat ci/layout.js; echo '</script>'; } >"$out/copy.html"
frame() { # frame WIDTH: a page that shows the copy so wide, and what the script in it says
    cat >"$out/frame.html" <<END
<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<iframe src="copy.html" style="width:$1px;height:2000px;border:0"></iframe>
<script>addEventListener("message", (event) => document.body.append(event.data + "\n"));</script>
END
}
check() { # check NAME WIDTH SCHEME PAPER
    frame "$2"
    browse 1500 2400 "$3" --virtual-time-budget=10000 --dump-dom "file://$out/frame.html" >"$out/frame.dom"
    said=$(grep -o 'charts [0-9].*' "$out/frame.dom" || echo nothing)
    echo "$1: $said"
    case $said in
        "charts 0,"*) fail "$1: no charts" ;;
        *"width $2, paper $4, layout is right"*) ;;
        *) fail "$1: the layout" ;;
    esac
}
check phone 390 1 "rgb(255, 255, 255)"
check phone-dark 390 0 "rgb(20, 24, 29)"
check small-phone 320 1 "rgb(255, 255, 255)"
check desktop 1280 1 "rgb(255, 255, 255)"

# The report itself, without the script.
browse 1500 2400 1 --dump-dom "file://$out/report.html" >"$out/report.dom"
charts=$(grep -c '<svg class="chart"' "$out/report.dom" || true)
[ "$charts" -ge 10 ] || fail "$charts charts in the page"
if grep -E '<script|https?://' "$out/report.dom"; then fail "the report refers to something outside, or has a script"; fi

# A picture of nothing is small, whatever its size on the screen.
browse 390 2400 1 --screenshot="$out/blank.png" "about:blank"
blank=$(stat -c %s "$out/blank.png")
picture() { # picture NAME WIDTH SCHEME PAGE
    browse "$2" 2400 "$3" --screenshot="$out/$1.png" "$4"
    local size
    size=$(stat -c %s "$out/$1.png")
    [ "$size" -gt $((blank * 5)) ] || fail "$1.png is blank: $size bytes, nothing at all is $blank"
}
picture phone 390 1 "file://$out/report.html"
picture phone-dark 390 0 "file://$out/report.html"
picture desktop 1280 1 "file://$out/report.html"
if cmp -s "$out/phone.png" "$out/phone-dark.png"; then fail "the dark is as light as the day"; fi
rm -rf "$out/data" "$out"/terminal.* "$out"/{copy,frame}.html "$out"/*.dom "$out/log" "$out/blank.png"
echo "$charts charts; screenshots in $out"
