#!/usr/bin/env bash
# by_family.sh N COMMAND…: COMMAND FAMILY/ for every family of golden scripts, N at a time, because they mostly wait for answers
# that must not come. Each family's output is printed when it ends; fails if any does.
set -u
cd "$(dirname "$0")/.."
jobs=$1; shift
ls golden/scripts | xargs -P "$jobs" -I FAMILY \
    bash -c 'out=$("$@" FAMILY/ 2>&1); code=$?; printf "%s: %s\n" FAMILY "$out"; exit $code' by_family "$@"
