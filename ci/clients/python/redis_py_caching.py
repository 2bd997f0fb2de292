"""redis-py's client-side cache, and CLIENT TRACKING in its forms: what another client writes, a cache is told to forget."""

import threading

import redis
from common import REDIS_7_0, client, eventually, raises, run
from redis.cache import CacheConfig, CacheKey, EvictionPolicy


def cached(**options):
    return client(protocol=3, cache_config=CacheConfig(**options))


def caches(r):
    c = cached(max_size=64)
    cache = c.get_cache()
    r.set("k", 1)
    assert [c.get("k") for _ in range(10)] == ["1"] * 10 and cache.size == 1
    # What lies in the cache is what is answered: the server is not asked.
    key = CacheKey(command="GET", redis_keys=("k",), redis_args=("GET", "k"))
    assert cache.get(key).cache_value in ("1", b"1"), cache.collection
    r.set("k", 2)
    eventually(lambda: c.get("k") == "2")
    assert c.hgetall("h") == {} and c.lrange("l", 0, -1) == [] and c.mget("k", "other") == ["2", None]
    r.hset("h", "f", 1)
    r.rpush("l", 1, 2)
    r.set("other", 3)
    eventually(lambda: c.hgetall("h") == {"f": "1"})
    eventually(lambda: c.lrange("l", 0, -1) == ["1", "2"])
    eventually(lambda: c.mget("k", "other") == ["2", "3"])
    # Its own writes, too; and commands that have nothing to do with the key leave it.
    c.set("k", 4)
    assert c.get("k") == "4"
    for change in (
        lambda: r.delete("k"), lambda: r.rename("other", "k"), lambda: r.eval("redis.call('SET', KEYS[1], 'by a script')", 1, "k"),
        lambda: r.pexpire("k", 1), lambda: r.flushdb(),
    ):
        c.get("k")
        assert cache.size > 0
        change()
        eventually(lambda: c.get("k") == client().get("k"))
    c.close()


def evicts(r):
    c = cached(max_size=10, eviction_policy=EvictionPolicy.LRU)
    r.mset({f"k{i}": i for i in range(50)})
    assert [c.get(f"k{i}") for i in range(50)] == [str(i) for i in range(50)] and c.get_cache().size == 10
    r.mset({f"k{i}": -i for i in range(50)})
    eventually(lambda: [c.get(f"k{i}") for i in range(40, 50)] == [str(-i) for i in range(40, 50)])
    c.close()


def several_keep_up(r):
    """Each has a cache, and a thread, of its own (this client's cache is not for several threads): none goes back in time."""
    stop, wrong, last_seen = threading.Event(), [], []
    r.set("shared", 0)

    def read():
        c, last = cached(), 0
        while not stop.is_set() or last < 200:
            now = int(c.get("shared"))
            if now < last:
                wrong.append((last, now))
            last = now
        last_seen.append(last)

    readers = [threading.Thread(target=read) for _ in range(4)]
    [reader.start() for reader in readers]
    for i in range(1, 201):
        r.set("shared", i)
    stop.set()
    [reader.join(30) for reader in readers]
    assert last_seen == [200] * 4 and not wrong, (last_seen, wrong[:5])


def told_by_another_connection(r):
    """RESP2's way: another connection listens to what is to be forgotten."""
    listener = client(protocol=2).pubsub()
    listener.subscribe("__redis__:invalidate")
    eventually(lambda: (listener.get_message(timeout=1) or {}).get("type") == "subscribe")
    here = "{}:{}".format(*listener.connection._sock.getsockname())
    its_id = next(int(c["id"]) for c in r.client_list() if c["addr"] == here)
    reader = client(protocol=2, single_connection_client=True)

    def forget():
        message = listener.get_message(timeout=0.5)
        return message["data"] if message and message["type"] == "message" else None

    assert reader.client_getredir() == -1 and reader.client_tracking_on(clientid=its_id)
    assert reader.client_getredir() == its_id and "on" in str(reader.client_trackinginfo())
    reader.mget("one", "two")
    r.mset({"one": 1, "three": 3})
    assert eventually(forget) == ["one"]
    r.set("one", 2)  # nobody has read it since
    r.set("two", 2)
    assert eventually(forget) == ["two"]
    assert reader.client_tracking_off() and reader.client_getredir() == -1
    # Everything that begins with a prefix, read or not; but not what it wrote itself.
    assert reader.client_tracking_on(clientid=its_id, bcast=True, prefix=["user:", "item:"], noloop=True)
    reader.set("user:1", 1)
    r.set("other", 1)
    r.set("user:2", 1)
    assert eventually(forget) == ["user:2"]
    reader.client_tracking_off()
    # Only what it says it will keep.
    assert reader.client_tracking_on(clientid=its_id, optin=True)
    reader.get("one")
    reader.execute_command("CLIENT CACHING", "YES")
    reader.get("two")
    r.mset({"one": 1, "two": 1})
    assert eventually(forget) == ["two"]
    raises(redis.ResponseError, "OPTIN", client().execute_command, "CLIENT CACHING", "YES")
    r.flushdb()
    assert eventually(lambda: listener.get_message(timeout=0.5))["data"] is None, "everything is to be forgotten"
    listener.close()


checks = [told_by_another_connection]
if not REDIS_7_0:  # with less than 7.4 the client refuses
    checks += [caches, evicts, several_keep_up]
run("redis-py caching", checks, (3,))
