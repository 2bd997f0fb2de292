#!/usr/bin/env bash
# fuzz.sh build | run SECONDS: the fuzz targets, built and run as `cargo fuzz` does, which need not be installed for it.
# A target that fails leaves its input in fuzz/artifacts/TARGET; `cargo fuzz run TARGET FILE` plays it again.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
# Coverage, and the sanitizer for addresses, are nightly's: the stable compiler is told to do as if.
export RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Ccodegen-units=4 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"

build() {
    cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --bins
}

one() { # one TARGET SECONDS
    local folder=fuzz/artifacts/$1 corpus log
    corpus=$(mktemp -d)
    log=target/ci/fuzz-$1.log
    mkdir -p "$folder" target/ci
    timeout $(($2 + 120)) "fuzz/target/$host/release/$1" -artifact_prefix="$folder/" -max_total_time="$2" -timeout=30 -rss_limit_mb=2048 "$corpus" >"$log" 2>&1 ||
        { tail -n 60 "$log"; exit 255; }
    rm -rf "$corpus"
    tail -n 1 "$log"
}

case $1 in
    build) build ;;
    run)
        export -f one
        export host
        sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | tail -n +2 | xargs -P 2 -I TARGET bash -c 'one "$1" "$2"' fuzz TARGET "$2"
        ;;
    *) echo "fuzz.sh build | run SECONDS"; exit 2 ;;
esac
