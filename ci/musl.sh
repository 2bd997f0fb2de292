#!/usr/bin/env bash
# musl.sh build | run: the server linked statically with musl, as in the container: built without optimisation, then run.
# rustup would download the standard library for musl; here it is built from Debian's source of it, by Debian's compiler.
set -eu
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-musl
VARVE=$PWD/target/musl/$target/release/varve

build() {
    mkdir -p target/musl/lib
    # std links the unwinder under this name; gcc's does the same. jemalloc wants some of what belongs to gcc, too.
    rm -f target/musl/lib/libunwind.a
    musl-gcc -O1 -Wall -Werror -c ci/musl_unwind.c -o target/musl/lib/find.o
    (cd target/musl/lib && printf 'create libunwind.a\naddlib %s\naddlib %s\naddmod find.o\nsave\nend\n' \
        "$(gcc -print-file-name=libgcc_eh.a)" "$(gcc -print-file-name=libgcc.a)" | ar -M)
    export RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc PATH=/usr/bin:$PATH
    # As little work for the compiler as it can be made to do.
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 CARGO_PROFILE_RELEASE_DEBUG=0
    export CC_x86_64_unknown_linux_musl=musl-gcc CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-Clink-self-contained=no -Ctarget-feature=+crt-static -Lnative=$PWD/target/musl/lib"
    /usr/bin/cargo build --quiet --locked --release --target $target -Zbuild-std=std,panic_abort --target-dir target/musl --package server --bin varve
}

run() {
    . ci/lib.sh
    ldd "$VARVE" 2>&1 | grep -q "not a dynamic executable\|statically linked" || { echo "it is not static:"; ldd "$VARVE"; exit 1; }
    for storage in memory sled fjall; do
        for runtime in epoll tokio threads; do
            start --storage $storage --runtime $runtime --databases 1
            cli SET key "$storage" >/dev/null
            expect "$storage" "$(cli GET key)"
            expect 5050 "$(cli EVAL 'local s = 0 for i = 1, 100 do s = s + i end return s' 0)"
            # An orderly end, and the key is there again, where the storage keeps it.
            cli SHUTDOWN SAVE >/dev/null 2>&1 || true
            wait "$server" || { echo "$storage, $runtime: it ended with $?"; cat "$folder/log"; exit 1; }
            server=
            start --storage $storage --runtime $runtime --databases 1
            expect "$storage" "$(cli GET key)"
            stop
            rm -rf "${folder:?}"/*
        done
    done
    echo "static with musl: $(du -m "$VARVE" | cut -f1) MiB unoptimised; three storages on three runtimes end, start, and have their key"
}

case $1 in
    build) build ;;
    run) run ;;
    *) echo "musl.sh build | run"; exit 2 ;;
esac
