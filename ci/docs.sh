#!/usr/bin/env bash
# Runs the commands that README.md, CONTRIBUTING.md, golden/README.md and docs/cluster.md tell people to type: every block that begins
# with ```sh. One that cannot run here says why, where it begins (```sh no-run: REASON), and is listed. Blocks that begin with
# ```sh in-a-copy change sources: they run one after another in a copy of the project, with the dependencies compiled already.
# Builds and tests that are steps of CI are not run again: a release build is the one of the step before, clippy stands for a build with
# other features. `ci/docs.sh list` only lists. Uses what .ci/run has built: the debug and the release binaries, the tests.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT

# What stands for a command that would compile everything with other features, or never end.
cargo() {
    case "$*" in
    "run -- "*) # as below, but the server is compiled from what the blocks before have changed
        shift 2
        command cargo build --quiet --workspace --bin varve
        "$root/target/debug/varve" --dir "$(mktemp -d -p "$folder")" "$@" >>"$folder/server.log" 2>&1 &
        echo $! >>"$folder/servers" ;;
    "run --release"*) # in the background, until it answers
        shift 2; [ "${1-}" != -- ] || shift
        "${VARVE:-$root/target/release/varve}" --dir "$(mktemp -d -p "$folder")" "$@" >>"$folder/server.log" 2>&1 &
        echo $! >>"$folder/servers" ;;
    "build --release --no-default-features"*) # compiled in the step before, by clippy
        shift 2; command cargo clippy --quiet --package server "$@" ;;
    "xtask tidy") echo "(CI's step 'tidy' is this command)" ;;
    "xtask bench engine "*) shift; "$root/target/release/xtask" "$@" ;;
    "xtask bench "*) shift; "$root/target/release/xtask" "$@" --binary "${VARVE:-$root/target/release/varve}" ;;
    "xtask "*) shift; CARGO_MANIFEST_DIR=$PWD/xtask "${XTASK:-$root/target/debug/xtask}" "$@" ;;
    "test --workspace") echo "(CI's step 'tests' is this command)" ;;
    *) command cargo "$@" ;;
    esac
}
# A server that was started just now may need a moment.
redis-cli() {
    for _ in $(seq 50); do
        case "$(command redis-cli "${@:1:2}" PING 2>&1)" in *PONG*) break ;; esac
        sleep 0.1
    done
    command redis-cli -e "$@" # an error is a failure
}
export -f cargo redis-cli
export folder root

# The copy: what git knows, and what a change has added to it.
copied() {
    [ -d "$folder/copy" ] && return
    mkdir "$folder/copy"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$folder/copy"
}

# blocks FILE: writes each block to $folder/N.sh, and prints "N LINE REASON" for it (no reason: it runs).
blocks() {
    awk -v folder="$folder" '
        /^ *```/ && inside { inside = 0; close(out); next }
        /^ *```sh( no-run: .+| in-a-copy)?$/ {
            indent = index($0, "`") - 1; reason = $0
            sub(/^ *```sh( no-run: | )?/, "", reason)
            out = folder "/" ++n ".sh"; printf "" > out; inside = 1
            print n, NR, reason; next
        }
        /^ *```/ { inside = 1; out = "/dev/null"; next }
        inside { print substr($0, indent + 1) > out }' "$1"
}

failed=0
for file in README.md CONTRIBUTING.md golden/README.md docs/cluster.md; do
    while read -r number line reason; do
        place=$root patience=120
        if [ "$reason" = in-a-copy ]; then
            copied
            reason="" place=$folder/copy patience=600
        fi
        if [ -n "$reason" ] || [ "${1-}" = list ]; then
            echo "$file:$line: ${reason:+not run: }${reason:-run}"
            continue
        fi
        began=$(date +%s)
        if (cd "$place" && CARGO_TARGET_DIR=$root/target timeout $patience bash -eu "$folder/$number.sh") >"$folder/out" 2>&1 </dev/null; then
            echo "$file:$line: ok, $(($(date +%s) - began)) s"
        else
            echo "$file:$line: FAILED"; cat "$folder/$number.sh" "$folder/out"; failed=1
            tail -n 20 "$folder/server.log" 2>/dev/null || true
        fi
        while read -r server; do kill "$server" 2>/dev/null || true; done < <(cat "$folder/servers" 2>/dev/null)
        rm -f "$folder/servers"
    done < <(blocks "$file")
done
# The copy's programs have taken the place of this folder's.
[ ! -d "$folder/copy" ] || command cargo build --quiet --workspace --bins
exit $failed
