"""redis-py: publish and subscribe, streams and their groups, blocking commands, keyspace events, MONITOR."""

import threading
import time

import redis
from common import DATABASE, client, eventually, raises, run

# Channels are the whole server's, databases or not.
CHANNEL = f"channel{DATABASE}."


def collect(listener, wanted, seconds=10):
    """The next `wanted` messages that a listener hears."""
    heard, until = [], time.monotonic() + seconds
    while len(heard) < wanted:
        assert time.monotonic() < until, f"heard only {heard}"
        message = listener.get_message(timeout=0.5)
        if message:
            heard.append(message)
    return heard


def publish_and_subscribe(r):
    listener = r.pubsub()
    listener.subscribe(CHANNEL + "news", CHANNEL + "weather")
    listener.psubscribe(CHANNEL + "n?ws")
    assert [(m["type"], m["data"]) for m in collect(listener, 3)] == [("subscribe", 1), ("subscribe", 2), ("psubscribe", 3)]
    assert dict(r.pubsub_numsub(CHANNEL + "news", CHANNEL + "nosuch")) == {CHANNEL + "news": 1, CHANNEL + "nosuch": 0}
    assert r.pubsub_numpat() >= 1 and r.pubsub_channels(CHANNEL + "w*") == [CHANNEL + "weather"]
    assert r.publish(CHANNEL + "news", "hello") == 2 and r.publish(CHANNEL + "weather", "rain") == 1
    heard = [(m["type"], m["pattern"], m["channel"], m["data"]) for m in collect(listener, 3)]
    assert sorted(heard, key=str) == sorted([
        ("message", None, CHANNEL + "news", "hello"),
        ("pmessage", CHANNEL + "n?ws", CHANNEL + "news", "hello"),
        ("message", None, CHANNEL + "weather", "rain"),
    ], key=str), heard
    if r.connection_pool.connection_kwargs["protocol"] == 2:  # in RESP3 the client takes the answer apart, whoever sent it
        listener.ping("are you there")
        assert collect(listener, 1)[0]["data"] == "are you there"
    listener.unsubscribe()
    listener.punsubscribe()
    assert sorted(m["data"] for m in collect(listener, 3)) == [0, 1, 2] and not listener.subscribed
    assert r.publish(CHANNEL + "news", "nobody") == 0
    listener.close()


def sharded(r):
    listener = r.pubsub()
    listener.ssubscribe(CHANNEL + "shard")
    assert collect(listener, 1)[0]["type"] == "ssubscribe"
    assert r.pubsub_shardchannels(CHANNEL + "*") == [CHANNEL + "shard"]
    assert dict(r.pubsub_shardnumsub(CHANNEL + "shard")) == {CHANNEL + "shard": 1}
    assert r.spublish(CHANNEL + "shard", "one") == 1 and r.publish(CHANNEL + "shard", "not for you") == 0
    heard = collect(listener, 1)[0]
    assert (heard["type"], heard["data"]) == ("smessage", "one")
    listener.sunsubscribe()
    assert collect(listener, 1)[0]["type"] == "sunsubscribe"
    listener.close()


def in_a_thread(r):
    heard = []
    listener = r.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(**{CHANNEL + "thread": lambda message: heard.append(message["data"])})
    listener.psubscribe(**{CHANNEL + "pattern.*": lambda message: heard.append(message["channel"])})
    thread = listener.run_in_thread(sleep_time=0.05, daemon=True)
    eventually(lambda: r.pubsub_numsub(CHANNEL + "thread")[0][1] == 1)
    with r.pipeline(transaction=False) as pipe:
        for i in range(500):
            pipe.publish(CHANNEL + "thread", i)
        assert pipe.execute() == [1] * 500
    eventually(lambda: r.publish(CHANNEL + "pattern.one", "") == 1)
    eventually(lambda: len(heard) >= 501)
    assert heard[:500] == [str(i) for i in range(500)] and heard[500] == CHANNEL + "pattern.one"
    thread.stop()
    thread.join(5)


def a_lost_listener_comes_back(r):
    listener = client(client_name=f"listener{DATABASE}", protocol=r.connection_pool.connection_kwargs["protocol"]).pubsub()
    listener.subscribe(CHANNEL + "again")
    collect(listener, 1)
    assert r.client_kill_filter(_id=[c["id"] for c in r.client_list() if c["name"] == f"listener{DATABASE}"][0]) == 1
    assert collect(listener, 1)[0]["type"] == "subscribe", "subscribed again by the client, of itself"
    assert r.publish(CHANNEL + "again", "welcome back") == 1
    assert collect(listener, 1)[0]["data"] == "welcome back"
    listener.close()


def keyspace_events(r):
    # For the whole server, and never taken back: others of these programs want it at the same time.
    r.config_set("notify-keyspace-events", "KEA")
    listener = r.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe(f"__keyevent@{DATABASE}__:*")
    listener.get_message(timeout=1)
    r.set("k", 1, px=20)
    r.lpush("l", 1)
    r.lpop("l")
    wanted = {("set", "k"), ("expire", "k"), ("lpush", "l"), ("lpop", "l"), ("del", "l"), ("expired", "k")}
    heard = {(m["channel"].split(":")[1], m["data"]) for m in collect(listener, len(wanted))}
    assert heard == wanted, heard
    listener.close()


def entries(answer):
    """XREAD's answer, alike for both protocols."""
    pairs = answer.items() if isinstance(answer, dict) else answer
    told = {}
    for key, found in pairs:
        # In RESP3 the client wraps what a stream has in one more list.
        told[key] = found[0] if found and isinstance(found[0], list) else found
    return told


def streams(r):
    ids = [r.xadd("s", {"n": i, "more": "x"}) for i in range(100)]
    assert r.xlen("s") == 100 and r.xrange("s", count=1) == [(ids[0], {"n": "0", "more": "x"})]
    assert [i for i, _ in r.xrevrange("s", count=2)] == [ids[99], ids[98]] and len(r.xrange("s", "(" + ids[97])) == 2
    assert len(entries(r.xread({"s": 0}, count=10))["s"]) == 10
    assert r.xadd("s", {"a": 1}, id="99999999999999-*") == "99999999999999-0"
    raises(redis.ResponseError, "equal or smaller", r.xadd, "s", {"a": 1}, id="1-1")
    assert r.xadd("nosuch", {"a": 1}, nomkstream=True) is None and r.xdel("s", ids[0], ids[1], "1-1") == 2
    assert r.xtrim("s", maxlen=50, approximate=False) == 49 and r.xtrim("s", minid="99999999999999-0", approximate=False) == 49
    about = r.xinfo_stream("s")
    assert about["length"] == 1 and about["entries-added"] == 101 and about["last-generated-id"] == "99999999999999-0", about
    assert r.xinfo_stream("s", full=True)["groups"] == []


def groups(r):
    assert r.xgroup_create("s", "g", id="0", mkstream=True)
    raises(redis.ResponseError, "BUSYGROUP", r.xgroup_create, "s", "g")
    raises(redis.ResponseError, "NOGROUP", r.xreadgroup, "nosuch", "c", {"s": ">"})
    ids = [r.xadd("s", {"n": i}) for i in range(10)]
    one = entries(r.xreadgroup("g", "one", {"s": ">"}, count=4))["s"]
    two = entries(r.xreadgroup("g", "two", {"s": ">"}, count=4))["s"]
    assert [i for i, _ in one] == ids[:4] and [i for i, _ in two] == ids[4:8]
    assert r.xack("s", "g", *ids[:2], "1-1") == 2
    told = r.xpending("s", "g")
    assert told["pending"] == 6 and (told["min"], told["max"]) == (ids[2], ids[7]), told
    assert {c["name"]: c["pending"] for c in told["consumers"]} == {"one": 2, "two": 4}
    waiting = r.xpending_range("s", "g", "-", "+", 10, consumername="one")
    assert [(w["message_id"], w["times_delivered"]) for w in waiting] == [(ids[2], 1), (ids[3], 1)]
    assert [i for i, _ in entries(r.xreadgroup("g", "one", {"s": "0"}))["s"]] == ids[2:4], "its own, once more"
    assert r.xclaim("s", "g", "three", 0, [ids[2]]) == [(ids[2], {"n": "2"})]
    assert r.xclaim("s", "g", "three", 100_000, [ids[3]]) == [] and r.xclaim("s", "g", "three", 0, [ids[3]], justid=True) == [ids[3]]
    assert r.xdel("s", ids[4]) == 1
    cursor, claimed, deleted = r.xautoclaim("s", "g", "four", min_idle_time=0, start_id="0-0", count=3)
    assert [i for i, _ in claimed] == [ids[2], ids[3]] and deleted == [ids[4]] and cursor == ids[5], (cursor, claimed, deleted)
    cursor, claimed, deleted = r.xautoclaim("s", "g", "four", min_idle_time=0, start_id=cursor)
    assert (cursor, len(claimed), deleted) == ("0-0", 3, [])
    about = r.xinfo_groups("s")[0]
    assert (about["name"], about["consumers"], about["pending"], about["last-delivered-id"], about["lag"]) == ("g", 4, 5, ids[7], about["lag"])
    assert {c["name"]: c["pending"] for c in r.xinfo_consumers("s", "g")} == {"one": 0, "two": 0, "three": 0, "four": 5}
    assert r.xgroup_delconsumer("s", "g", "four") == 5 and r.xgroup_createconsumer("s", "g", "five") == 1
    assert r.xgroup_setid("s", "g", ids[8]) and [i for i, _ in entries(r.xreadgroup("g", "five", {"s": ">"}, noack=True))["s"]] == ids[9:]
    assert r.xpending("s", "g")["pending"] == 0 and r.xgroup_destroy("s", "g") == 1


def workers_on_a_group(r):
    r.xgroup_create("jobs", "g", mkstream=True)
    done, stop = [], threading.Event()

    def work(name):
        mine = client(protocol=r.connection_pool.connection_kwargs["protocol"])
        while not stop.is_set():
            found = mine.xreadgroup("g", name, {"jobs": ">"}, count=5, block=200)
            for i, fields in entries(found).get("jobs", []) if found else []:
                done.append(int(fields["n"]))
                assert mine.xack("jobs", "g", i) == 1

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    [t.start() for t in threads]
    for n in range(300):
        r.xadd("jobs", {"n": n}, maxlen=1000)
    eventually(lambda: len(done) == 300)
    stop.set()
    [t.join() for t in threads]
    assert sorted(done) == list(range(300)) and r.xpending("jobs", "g")["pending"] == 0


def blocking(r):
    def later(call, *args, **options):
        """Calls in a thread, waits until the server has that client waiting."""
        got, mine = [], client(protocol=r.connection_pool.connection_kwargs["protocol"])
        name = f"waits{DATABASE}"
        mine.client_setname(name)
        thread = threading.Thread(target=lambda: got.append(getattr(mine, call)(*args, **options)))
        thread.start()
        eventually(lambda: any("b" in c["flags"] for c in r.client_list() if c["name"] == name))
        return lambda: (thread.join(10), mine.close(), got[0])[2]

    waits = later("bzpopmin", "z", timeout=10)
    r.zadd("z", {"x": 1})
    assert list(waits())[:2] == ["z", "x"]
    waits = later("blpop", ["l1", "l2"], timeout=10)
    r.rpush("l2", "a", "b")
    assert list(waits()) == ["l2", "a"]
    waits = later("blmove", "from", "to", 10, "RIGHT", "LEFT")
    r.rpush("from", 1, 2)
    assert waits() == "2" and r.lrange("to", 0, -1) == ["2"]
    waits = later("blmpop", 10, 2, "x1", "x2", direction="LEFT", count=2)
    with r.pipeline() as pipe:
        pipe.rpush("x2", *"abc").execute()
    assert waits() == ["x2", ["a", "b"]]
    waits = later("bzmpop", 10, 1, ["z2"], max=True)
    r.eval("redis.call('ZADD', KEYS[1], 1, 'a', 2, 'b')", 1, "z2")
    assert waits()[0] == "z2"
    waits = later("xread", {"s": "$"}, block=10_000)
    added = r.xadd("s", {"a": 1})
    assert entries(waits())["s"] == [(added, {"a": "1"})]
    waits = later("brpop", "l9", timeout=10)
    r.client_unblock([c["id"] for c in r.client_list() if "b" in c["flags"] and c["name"] == f"waits{DATABASE}"][0])
    assert waits() is None


def monitored(r):
    with r.monitor() as monitor:
        mine = client()
        mine.set("watched by", "MONITOR")
        for told in monitor.listen():
            # Others do the same at the same time, in databases of their own.
            if told["db"] == DATABASE and told["command"].startswith("SET watched by"):
                break
        assert told["client_type"] == "tcp" and told["command"] == "SET watched by MONITOR", told
        mine.eval("return redis.call('GET', KEYS[1])", 1, "watched by")
        seen = []
        while len(seen) < 2:
            told = monitor.next_command()
            if told["db"] == DATABASE and "watched by" in told["command"]:
                seen.append(told["client_type"])
        assert seen == ["tcp", "lua"], seen


run("redis-py messages", [
    publish_and_subscribe, sharded, in_a_thread, a_lost_listener_comes_back, keyspace_events, streams, groups, workers_on_a_group,
    blocking, monitored,
])
