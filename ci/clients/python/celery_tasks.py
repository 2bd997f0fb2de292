"""The application that celery_jobs.py has jobs for: broker and results in one Redis. VARVE_URL says which."""

import os

import redis
from celery import Celery

URL = os.environ["VARVE_URL"]
app = Celery("tasks", broker=URL, backend=URL)
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_track_started=True,
    result_extended=True,
    broker_transport_options={"visibility_timeout": 60, "priority_steps": [0, 5, 9]},
    task_default_priority=5,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def third_time_lucky(self, key):
    tries = redis.Redis.from_url(URL).incr(key)
    if tries < 3:
        raise self.retry(countdown=0.1)
    return tries


@app.task
def fails():
    raise ValueError("on purpose")


@app.task
def note(key, what):
    redis.Redis.from_url(URL).rpush(key, what)
