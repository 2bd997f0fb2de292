"""redis-py's high-level API against a running server: redis_py.py PORT."""

import sys
import threading
import time

import redis

PORT = int(sys.argv[1])


def client(**options):
    return redis.Redis(port=PORT, decode_responses=True, **options)


def strings_and_keys(r):
    assert r.set("k", "v", ex=100) is True
    assert r.get("k") == "v" and 0 < r.ttl("k") <= 100
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "w", get=True) == "v"
    assert r.incr("n") == 1 and r.incrby("n", 5) == 6 and r.incrbyfloat("n", 0.5) == 6.5
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "nosuch") == ["1", "2", None]
    assert set(r.scan_iter(match="[ab]")) == {"a", "b"}
    assert r.delete("a", "b") == 2 and r.exists("a") == 0
    assert r.rename("k", "l") and r.type("l") == "string"
    assert r.copy("l", "m") and r.dump("m") is not None


def hashes_and_sorted_sets(r):
    assert r.hset("h", mapping={"one": 1, "two": 2}) == 2
    assert r.hgetall("h") == {"one": "1", "two": "2"}
    assert r.hincrby("h", "one", 4) == 5
    assert dict(r.hscan_iter("h")) == {"one": "5", "two": "2"}
    assert r.zadd("z", {"a": 1, "b": 2.5, "c": 3}) == 3
    assert r.zrange("z", 0, -1, withscores=True)[0][0] == "a"
    assert r.zrange("z", "(1", "+inf", byscore=True) == ["b", "c"]
    assert r.zscore("z", "b") == 2.5 and r.zrank("z", "c") == 2
    assert r.zpopmin("z")[0][0] == "a"


def pipelines(r):
    with r.pipeline(transaction=True) as pipe:
        pipe.set("p", 1).incr("p").get("p")
        assert pipe.execute() == [True, 2, "2"]
    with r.pipeline() as pipe:
        pipe.watch("p")
        pipe.multi()
        client().set("p", "other")
        pipe.get("p")
        try:
            pipe.execute()
            raise AssertionError("a watched key changed, and the transaction went on")
        except redis.WatchError:
            pass
    with r.pipeline(transaction=False) as pipe:
        for i in range(10_000):
            pipe.set(f"many:{i}", i)
        assert all(pipe.execute())


def pubsub(r):
    listener = client().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.psubscribe("n*")
    listener.get_message(timeout=1)
    while r.pubsub_numsub("news")[0][1] == 0 or r.pubsub_numpat() == 0:
        time.sleep(0.01)
    assert r.publish("news", "hello") == 2
    kinds = set()
    until = time.time() + 5
    while len(kinds) < 2 and time.time() < until:
        message = listener.get_message(timeout=1)
        if message:
            assert message["data"] == "hello"
            kinds.add(message["type"])
    assert kinds == {"message", "pmessage"}, kinds


def blocking(r):
    got = []
    waiting = threading.Thread(target=lambda: got.append(client().bzpopmin("bz", timeout=5)))
    waiting.start()
    time.sleep(0.1)
    r.zadd("bz", {"x": 1})
    waiting.join()
    assert got[0][:2] == ("bz", "x") or list(got[0])[:2] == ["bz", "x"], got


def server(r):
    assert r.info()["redis_version"].startswith("7.")
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.config_set("maxmemory", "0")
    assert r.client_setname("tester") and r.client_getname() == "tester"
    assert any(c["name"] == "tester" for c in r.client_list())
    assert r.dbsize() > 0 and r.time()[0] > 0
    assert "get" in r.command()


for protocol in (2, 3):
    connection = client(protocol=protocol)
    connection.flushall()
    for check in (strings_and_keys, hashes_and_sorted_sets, pipelines, pubsub, blocking, server):
        check(connection)
        print(f"RESP{protocol} {check.__name__}: ok")
