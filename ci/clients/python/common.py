"""What the programs here share: PROGRAM PORT DATABASE; runs checks, and prints one line if all hold.

They pass on a real redis-server, too: `REDIS_7_0` guards what is younger than the 7.0 that Debian has.
"""

import functools
import sys
import time
import traceback

import redis

PORT, DATABASE = int(sys.argv[1]), int(sys.argv[2])
URL = f"redis://127.0.0.1:{PORT}/{DATABASE}"


def client(**options):
    options.setdefault("decode_responses", True)
    return redis.Redis(port=PORT, db=DATABASE, **options)


REDIS_7_0 = client().info("server")["redis_version"].startswith("7.0.")


def raises(kind, text, call, *args, **options):
    """`call` must fail with an error of `kind` that tells `text`."""
    try:
        got = call(*args, **options)
    except kind as error:
        assert text in str(error), f"the error is {error}, and should tell {text}"
        return
    raise AssertionError(f"answered {got!r}, and should have failed with {text}")


def eventually(holds, seconds=10):
    """Waits until `holds()`; what it answered, or a failure."""
    until = time.monotonic() + seconds
    while True:
        got = holds()
        if got:
            return got
        assert time.monotonic() < until, f"not within {seconds} s: {holds}"
        time.sleep(0.01)


def alone(check):
    """For a `check` of what the whole server shares (statistics, libraries of functions): such checks of other programs wait."""

    @functools.wraps(check)
    def in_turn(r):
        with redis.Redis(port=PORT, db=0).lock("what the whole server shares", timeout=60):
            check(r)

    return in_turn


def run(title, checks, protocols=(2, 3), **options):
    """Every check on every protocol, each from an empty database."""
    started = time.monotonic()
    for protocol in protocols:
        for check in checks:
            r = client(protocol=protocol, **options)
            r.flushdb()
            try:
                check(r)
            except Exception:
                traceback.print_exc()
                sys.exit(f"FAILED: {title}, RESP{protocol}, {check.__name__}")
            r.close()
    spoken = " and ".join(f"RESP{protocol}" for protocol in protocols)
    print(f"{title} {redis.__version__}: {len(checks)} checks in {spoken}, {time.monotonic() - started:.1f} s")
