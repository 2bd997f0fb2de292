"""redis-py: pipelines, transactions, scripts, functions and locks."""

import threading
import time

import redis
from common import DATABASE, alone, client, eventually, raises, run
from redis.exceptions import LockError, LockNotOwnedError


def transactions(r):
    with r.pipeline(transaction=True) as pipe:
        pipe.set("p", 1).incr("p").get("p").hset("h", "f", 1).zadd("z", {"a": 1}).zscore("z", "a")
        assert pipe.execute() == [True, 2, "2", 1, 1, 1.0]
    with r.pipeline() as pipe:
        pipe.set("p", 5).lpush("p", 1).incr("p")
        raises(redis.ResponseError, "WRONGTYPE", pipe.execute)
    assert r.get("p") == "6", "what stood beside the failure was not undone"
    with r.pipeline() as pipe:
        pipe.set("p", 5).lpush("p", 1).incr("p")
        answers = pipe.execute(raise_on_error=False)
        assert answers[0] is True and isinstance(answers[1], redis.ResponseError) and answers[2] == 6
    with r.pipeline() as pipe:
        pipe.set("p", 7).execute_command("NOSUCHCOMMAND")
        raises(redis.ResponseError, "unknown command", pipe.execute)
    assert r.get("p") == "6", "a transaction with a command that is none was executed"


def pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for i in range(10_000):
            pipe.set(f"many:{i}", i)
        assert pipe.execute() == [True] * 10_000
    with r.pipeline(transaction=False) as pipe:
        for i in range(10_000):
            pipe.get(f"many:{i}")
        assert pipe.execute() == [str(i) for i in range(10_000)]
    large = "x" * 5_000_000
    with r.pipeline(transaction=False) as pipe:
        answers = pipe.set("large", large).get("large").strlen("large").execute()
    assert answers == [True, large, 5_000_000]


def watched(r):
    with r.pipeline() as pipe:
        pipe.watch("p")
        assert pipe.get("p") is None
        pipe.multi()
        client().set("p", "other")
        pipe.set("p", "mine")
        raises(redis.WatchError, "", pipe.execute)
    assert r.get("p") == "other"
    r.set("gone", 1, px=500)
    with r.pipeline() as pipe:
        pipe.watch("gone")
        eventually(lambda: client().get("gone") is None)
        pipe.multi()
        pipe.set("after", 1)
        raises(redis.WatchError, "", pipe.execute)
    # Eight clients, each adding one, twenty-five times: optimistic, so each may have to try again.
    r.set("counter", 0)

    def add():
        mine = client()
        for _ in range(25):
            while True:
                with mine.pipeline() as pipe:
                    try:
                        pipe.watch("counter")
                        count = int(pipe.get("counter"))
                        pipe.multi()
                        pipe.set("counter", count + 1)
                        pipe.execute()
                        break
                    except redis.WatchError:
                        continue

    threads = [threading.Thread(target=add) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert r.get("counter") == "200"

    def twice(pipe):
        count = int(pipe.get("counter"))
        pipe.multi()
        pipe.set("counter", count * 2)

    assert r.transaction(twice, "counter") == [True] and r.get("counter") == "400"


SCRIPT = """
local total = 0
for _, key in ipairs(KEYS) do total = total + (tonumber(redis.call('GET', key)) or 0) end
redis.call('SET', KEYS[1], total)
return {total, ARGV[1], redis.call('TYPE', KEYS[1]), '%s'}
"""


def scripts(r):
    r.mset({"a": 1, "b": 2})
    # No server has seen it: the client sends EVALSHA, is told NOSCRIPT, and loads it.
    unique = f"{time.time_ns()} {DATABASE}"
    script = r.register_script(SCRIPT % unique)
    assert r.script_exists(script.sha) == [False]
    assert script(keys=["a", "b"], args=["arg"]) == [3, "arg", "string", unique] and r.script_exists(script.sha) == [True]
    other = r.register_script(SCRIPT % (unique + " other"))
    with r.pipeline() as pipe:
        script(keys=["a", "b"], args=[1], client=pipe)
        other(keys=["b"], args=[2], client=pipe)
        pipe.get("a")
        first, second, last = pipe.execute()
    assert first[0] == 5 and second[3].endswith("other") and last == "5"
    sha = r.script_load("return {KEYS[1], ARGV[1], 7, 3.9, false, {ok='fine'}}")
    assert r.evalsha(sha, 1, "k", "v") == ["k", "v", 7, 3, None, "fine"]
    raises(redis.exceptions.NoScriptError, "No matching script", r.evalsha, "0" * 40, 0)
    raises(redis.ResponseError, "wrong on purpose", r.eval, "return redis.error_reply('ERR wrong on purpose')", 0)
    raises(redis.ResponseError, "WRONGTYPE", r.eval, "redis.call('SET', KEYS[1], 1) return redis.call('LPOP', KEYS[1])", 1, "k")
    raises(redis.ResponseError, "Error compiling script", r.eval, "return (", 0)
    assert r.eval_ro("return redis.call('GET', KEYS[1])", 1, "a") == "5"
    raises(redis.ResponseError, "Write commands are not allowed", r.eval_ro, "return redis.call('SET', KEYS[1], 1)", 1, "a")
    told = r.eval("return cjson.encode({1, 'two', {three = 3}}) .. #cmsgpack.pack(KEYS) .. redis.sha1hex('')", 1, "k")
    assert told == '[1,"two",{"three":3}]3da39a3ee5e6b4b0d3255bfef95601890afd80709', told


@alone
def functions(r):
    library = f"library{DATABASE}"
    code = f"""#!lua name={library}
        redis.register_function('add{DATABASE}', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)
        redis.register_function{{function_name='see{DATABASE}', callback=function(keys) return redis.call('GET', keys[1]) end, flags={{'no-writes'}}}}
    """
    assert r.function_load(code, replace=True) == library
    raises(redis.ResponseError, "already exists", r.function_load, code)
    assert r.fcall(f"add{DATABASE}", 1, "n", 5) == 5 and r.fcall_ro(f"see{DATABASE}", 1, "n") == "5"
    raises(redis.ResponseError, "Can not execute a script with write flag", r.fcall_ro, f"add{DATABASE}", 1, "n", 5)
    listed = r.function_list(library=library, withcode=True)
    assert len(listed) == 1 and code in str(listed[0]).replace("\\n", "\n"), listed
    raw = client(decode_responses=False)
    dumped = raw.function_dump()
    assert r.function_delete(library) and r.function_list(library=library) == []
    assert raw.function_restore(dumped, "REPLACE") in (b"OK", True) and r.fcall(f"add{DATABASE}", 1, "n", 1) == 6
    assert r.function_stats() and r.function_delete(library)


def locks(r):
    with r.lock("lock", timeout=10) as lock:
        assert lock.locked() and lock.owned() and not r.lock("lock").acquire(blocking=False)
        assert lock.extend(10) and 15 < r.ttl("lock") <= 20
        assert lock.extend(5, replace_ttl=True) and r.ttl("lock") <= 5 and lock.reacquire() and r.ttl("lock") > 5
    assert r.get("lock") is None
    raises(LockError, "unlocked", lock.release)
    lost = r.lock("lock", timeout=0.03)
    assert lost.acquire() and eventually(lambda: not lost.locked())
    taken = r.lock("lock")
    assert taken.acquire()
    raises(LockNotOwnedError, "no longer owned", lost.release)
    raises(LockError, "unlocked", lost.extend, 1)
    assert r.lock("lock").acquire(blocking_timeout=0.15) is False
    taken.release()
    # Only one at a time is in the part that the lock guards.
    inside, most = [], []

    def enter():
        mine = client()
        for _ in range(10):
            with mine.lock("lock", timeout=20, sleep=0.002):
                inside.append(1)
                most.append(len(inside))
                mine.incr("entered")
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert max(most) == 1 and r.get("entered") == "40"


run("redis-py programs", [transactions, pipelines, watched, scripts, functions, locks])
