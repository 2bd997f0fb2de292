#!/usr/bin/env bash
# The tests of what the memory backend does with `unsafe` (table, entries, packed values), under valgrind: reads and
# writes outside of what was allocated, and decisions by bytes that nobody wrote. Uses the tests that CI has built.
set -eu
cd "$(dirname "$0")/.."
listed=$(cargo test --workspace --lib --no-run 2>&1) || { echo "$listed"; exit 1; }
test=$(echo "$listed" | sed -n 's/.*(\(.*storage_memory-[0-9a-f]*\))$/\1/p')
[ -x "$test" ] || { echo "there is no test of storage-memory: $test"; exit 1; }
# The order of sorted sets has no `unsafe`, and takes half a minute.
ran=$(PROPTEST_CASES=16 timeout 300 valgrind --quiet --error-exitcode=9 --leak-check=no \
    "$test" --test-threads=1 table_tests segment entry directory packed chunk intset expiry --skip order 2>&1) ||
    { code=$?; echo "$ran"; [ $code != 124 ] || echo "it took more than five minutes"; exit $code; }
echo "$ran" | tail -n 3
# Renamed modules would leave nothing to run.
echo "$ran" | grep -q "^test result: ok. [1-9][0-9]* passed" || { echo "no test was run"; exit 1; }
