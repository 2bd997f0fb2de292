#!/usr/bin/env bash
# mirror.sh [FAMILY/]: the golden scripts through sockets, tokio's answers against epoll's.
set -eu
cd "$(dirname "$0")/.."
. ci/lib.sh
start --appendonly no --enable-debug-command yes --runtime epoll
first=$server first_port=$port first_folder=$folder
folder=$(mktemp -d)
port=$(free_port)
trap 'kill -9 $first; stop -9; rm -rf "$folder" "$first_folder"' EXIT
start --appendonly no --enable-debug-command yes --runtime tokio
${XTASK:-cargo run --quiet --package xtask --} conformance --ours --mirror "127.0.0.1:$first_port" --against "127.0.0.1:$port" "$@"
