"""What the jobs of rq_jobs.py do, imported by RQ's worker."""

from rq import get_current_job


def add(x, y):
    return x + y


def fails():
    raise ValueError("on purpose")


def third_time_lucky():
    job = get_current_job()
    tries = job.connection.incr("tries")
    if tries < 3:
        raise RuntimeError(f"try {tries}")
    return tries


def on_failure(job, connection, *_):
    connection.set("told of failure", job.id)
