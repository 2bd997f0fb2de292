"""Celery with Redis as broker and for results: a real worker, and jobs of every shape done by it."""

import os
import subprocess
import sys
import time

from common import URL, client, eventually, raises

os.environ["VARVE_URL"] = URL
import celery  # noqa: E402
from celery import chain, chord, group  # noqa: E402
from celery_tasks import add, app, fails, note, third_time_lucky, total  # noqa: E402

WAIT = {"timeout": 30, "interval": 0.01}


def jobs():
    assert add.delay(2, 3).get(**WAIT) == 5
    many = [add.delay(i, i) for i in range(200)]
    assert [job.get(**WAIT) for job in many] == [2 * i for i in range(200)]


def compositions():
    grouped = group(add.s(i, 1) for i in range(20)).apply_async()
    assert grouped.get(**WAIT) == list(range(1, 21)) and grouped.successful()
    assert chord((add.s(i, i) for i in range(20)), total.s()).apply_async().get(**WAIT) == 380
    assert chain(add.s(1, 2), add.s(10), add.s(100)).apply_async().get(**WAIT) == 113
    nested = chain(group(add.s(i, 0) for i in range(5)), total.s(), add.s(1))
    assert nested.apply_async().get(**WAIT) == 11


def failures_and_retries():
    lucky = third_time_lucky.delay("tries")
    assert lucky.get(**WAIT) == 3 and lucky.state == "SUCCESS"
    failed = fails.delay()
    raises(ValueError, "on purpose", failed.get, **WAIT)
    assert failed.state == "FAILURE" and "on purpose" in failed.traceback
    body = chord([add.s(1, 1), fails.s()], total.s()).apply_async()
    eventually(lambda: body.state == "FAILURE", 30)
    assert isinstance(body.result, celery.exceptions.ChordError) and "on purpose" in str(body.result), body.result


def later_and_by_priority():
    started = time.monotonic()
    assert add.apply_async((1, 1), countdown=1).get(**WAIT) == 2 and time.monotonic() - started >= 0.9
    for i in range(9):
        note.apply_async(("order", i), priority=9 - i)
    eventually(lambda: client().llen("order") == 9, 30)


def worker_is_asked():
    # Questions to workers go over a fan-out exchange: publish and subscribe.
    assert list(app.control.ping(timeout=5, limit=1))[0].popitem()[1] == {"ok": "pong"}
    inspect = app.control.inspect(timeout=5, limit=1)
    assert "celery_tasks.add" in list(inspect.registered().values())[0]
    waits = add.apply_async((1, 1), countdown=30)
    eventually(lambda: any(waits.id in str(jobs) for jobs in (inspect.scheduled() or {}).values()), 30)
    waits.revoke()
    eventually(lambda: any(waits.id in ids for ids in (inspect.revoked() or {}).values()), 30)


def results_are_forgotten():
    done = add.delay(1, 1)
    done.get(**WAIT)
    assert client().ttl(f"celery-task-meta-{done.id}") > 80_000
    done.forget()
    assert client().exists(f"celery-task-meta-{done.id}") == 0


started = time.monotonic()
client().flushdb()
command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "celery_tasks", "worker", "--concurrency", "2", "--loglevel", "critical"]
worker = subprocess.Popen(command, cwd=os.path.dirname(os.path.abspath(__file__)), stdout=subprocess.DEVNULL)
checks = [jobs, compositions, failures_and_retries, later_and_by_priority, worker_is_asked, results_are_forgotten]
try:
    for check in checks:
        try:
            check()
        except Exception as error:
            raise SystemExit(f"FAILED: Celery, {check.__name__}: {error!r}") from error
    # A worker that goes leaves nothing behind it: every job was acknowledged.
    worker.terminate()
    worker.wait(30)
    assert client().hlen("unacked") == 0 and client().llen("celery") == 0, client().keys()
finally:
    worker.kill()
print(f"Celery {celery.__version__}: {len(checks)} checks, {time.monotonic() - started:.1f} s")
