"""RQ: real workers in processes of their own; jobs that succeed, fail, are tried again, wait for others, and for a time."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import rq
import rq_tasks
from common import URL, client, eventually
from rq import Callback, Queue, Retry
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry

started = time.monotonic()
connection = client(decode_responses=False)
connection.flushdb()
high, low = Queue("high", connection=connection), Queue("low", connection=connection)


def work(*options):
    command = [sys.executable, "-m", "rq.cli", "worker", "--url", URL, "--logging_level", "CRITICAL", *options, "high", "low"]
    return subprocess.Popen(command, cwd=os.path.dirname(os.path.abspath(__file__)))


# A burst: what is queued is done, then the worker goes.
sums = [low.enqueue(rq_tasks.add, i, i) for i in range(10)]
first = high.enqueue(rq_tasks.add, 1, 1)
after = low.enqueue(rq_tasks.add, 2, 2, depends_on=first)
failed = low.enqueue(rq_tasks.fails, on_failure=Callback(rq_tasks.on_failure))
lucky = low.enqueue(rq_tasks.third_time_lucky, retry=Retry(max=3))
batch = low.enqueue_many([Queue.prepare_data(rq_tasks.add, (i, 1), job_id=f"batch-{i}") for i in range(5)])
assert low.count == 17 and high.count == 1 and after.get_status() == JobStatus.DEFERRED
worker = work("--burst")
assert worker.wait(60) == 0
assert [job.return_value() for job in sums] == [2 * i for i in range(10)]
assert after.return_value() == 4 and [job.return_value() for job in batch] == [1, 2, 3, 4, 5]
assert lucky.return_value() == 3 and lucky.get_status(refresh=True) == JobStatus.FINISHED
assert failed.get_status(refresh=True) == JobStatus.FAILED and "on purpose" in failed.latest_result().exc_string
assert connection.get("told of failure") == failed.id.encode()
assert FailedJobRegistry(queue=low).get_job_ids() == [failed.id] and low.count == 0
assert FinishedJobRegistry(queue=low).count == 17
first.refresh()
assert first.return_value() == 2 and first.ended_at >= first.started_at
assert Job.fetch("batch-1", connection=connection).return_value() == 2

# A failed job is put back; a scheduled one is queued by the worker's scheduler when its time has come, a try again too.
assert low.fetch_job(failed.id).requeue().get_status() == JobStatus.QUEUED
connection.set("tries", 0)
later = high.enqueue_in(timedelta(seconds=1), rq_tasks.add, 20, 22)
tried_later = high.enqueue(rq_tasks.third_time_lucky, retry=Retry(max=3, interval=1))
assert later.get_status() == JobStatus.SCHEDULED and ScheduledJobRegistry(queue=high).get_job_ids() == [later.id]
worker = work("--with-scheduler")
try:
    eventually(lambda: later.get_status(refresh=True) == JobStatus.FINISHED, 30)
    eventually(lambda: tried_later.get_status(refresh=True) == JobStatus.FINISHED, 30)
    eventually(lambda: failed.get_status(refresh=True) == JobStatus.FAILED, 30)
    assert later.return_value() == 42 and tried_later.return_value() == 3
    assert len(rq.Worker.all(connection=connection)) == 1
    rq.command.send_shutdown_command(connection, rq.Worker.all(connection=connection)[0].name)
    assert worker.wait(30) == 0, "told over publish and subscribe to go, the worker went"
finally:
    worker.kill()
print(f"RQ {rq.__version__}: 18 jobs in a burst, one requeued, one scheduled, one tried three times, {time.monotonic() - started:.1f} s")
