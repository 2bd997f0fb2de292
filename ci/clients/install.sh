#!/usr/bin/env bash
# Installs what ci/clients.sh talks to the server with, into target/ci: Python packages, npm packages, the Rust client.
# Prints what cannot be installed here; ci/clients.sh then passes over it, and says so.
set -u
cd "$(dirname "$0")/../.."
mkdir -p target/ci
have() { command -v "$1" >/dev/null 2>&1; }

python() { # python FOLDER REQUIREMENTS
    have python3 && { [ -x "$1/bin/python" ] || python3 -m venv "$1"; } &&
        "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2" && return
    rm -rf "$1"
    echo "not installed: $2"
}
python target/ci/venv ci/clients/python/requirements.txt &
python target/ci/venv-jobs ci/clients/python/requirements-jobs.txt &
python target/ci/venv-deploy ci/deploy/requirements.txt &

node() {
    if ! have npm && [ "$(id -u)" = 0 ] && have apt-get; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
    fi
    have npm || { echo "not installed: npm"; return; }
    local to=target/ci/node
    mkdir -p $to
    # What is run lies beside its packages: that is where node looks for them.
    cp ci/clients/node/*.js $to
    cmp -s ci/clients/node/package-lock.json $to/package-lock.json && [ -f $to/installed ] && return
    cp ci/clients/node/package.json ci/clients/node/package-lock.json $to
    rm -f $to/installed
    # Debian's node may be older than the clients want: then one comes from npm, too.
    npm ci --prefix $to --no-audit --no-fund --ignore-scripts --loglevel error >/dev/null &&
        if command node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))'; then
            rm -rf $to/newer
        else
            npm install --prefix $to/newer --no-audit --no-fund --loglevel error node@22 >/dev/null
        fi &&
        touch $to/installed || echo "not installed: the npm packages"
}
node &

cargo build --quiet --locked --manifest-path ci/clients/rust/Cargo.toml --target-dir target/ci/rust ||
    { rm -f target/ci/rust/debug/rust-client; echo "not installed: the Rust client"; }
wait
