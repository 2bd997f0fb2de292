#!/usr/bin/env bash
# supply.sh install | check: what the server is built from, by cargo-deny, and the Debian package, by cargo-deb.
# Both come from crates.io: compiled without optimisation, since each runs for a second.
set -eu
cd "$(dirname "$0")/.."
tools=target/ci/cargo
VARVE=${VARVE:-target/release/varve}

install() {
    for tool in cargo-deb cargo-deny; do
        CARGO_TARGET_DIR=target/ci/cargo-build cargo install --quiet --debug --locked --root $tools "$tool@$(version $tool)"
    done
}

version() { sed -n "s/^# $1 //p" deny.toml; }

check() {
    # Advisories need a database of the network: cargo deny check advisories.
    $tools/bin/cargo-deny --offline --log-level error check --hide-inclusion-graph bans licenses sources
    local folder package
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' RETURN
    package=$folder/varve.deb
    $tools/bin/cargo-deb --no-build --package server --output "$package" >/dev/null
    dpkg-deb --extract "$package" "$folder/root"
    dpkg-deb --control "$package" "$folder/control"
    "$folder/root/usr/bin/varve" config check "$folder/root/etc/varve/varve.toml"
    # The same program, without its symbols.
    [ "$("$folder/root/usr/bin/varve" --version)" = "$("$VARVE" --version)" ] || { echo "the package's server is another one"; return 1; }
    grep -q '^/etc/varve/varve.toml$' "$folder/control/conffiles"
    grep -q "^ExecStart=/usr/bin/varve" "$folder"/root/*/systemd/system/varve.service "$folder"/root/usr/lib/systemd/system/varve.service 2>/dev/null ||
        { echo "the package has no unit that starts its server"; find "$folder/root"; return 1; }
    sh -n "$folder/control/postinst"
    echo "Debian package: $(du -k "$package" | cut -f1) KiB; $(dpkg-deb --field "$package" Depends)"
}

case $1 in
    install) install ;;
    check) check ;;
    *) echo "supply.sh install | check"; exit 2 ;;
esac
