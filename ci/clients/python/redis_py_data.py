"""redis-py: every type's helpers, scanning, expiry, users, what is told about clients and the server."""

import time

import redis
from common import DATABASE, REDIS_7_0, alone, client, eventually, raises, run
from redis.backoff import NoBackoff
from redis.retry import Retry


def strings(r):
    assert r.set("k", "v", ex=100) is True
    assert r.get("k") == "v" and 0 < r.ttl("k") <= 100
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "w", get=True) == "v"
    assert r.set("k", "x", keepttl=True) and r.ttl("k") == -1
    assert r.set("dated", 1, pxat=int(time.time() * 1000) + 50_000) and 40_000 < r.pttl("dated") <= 50_000
    assert r.incr("n") == 1 and r.incrby("n", 5) == 6 and r.incrbyfloat("n", 0.5) == 6.5
    assert r.decr("n2", 3) == -3
    raises(redis.ResponseError, "not an integer", r.incr, "k")
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "nosuch") == ["1", "2", None]
    assert r.msetnx({"a": 1, "c": 2}) is False and r.exists("c") == 0
    assert r.append("s", "hello ") == 6 and r.append("s", "world") == 11
    assert r.getrange("s", 0, 4) == "hello" and r.setrange("s", 6, "Redis") == 11 and r.strlen("s") == 11
    assert r.getex("s", ex=50) == "hello Redis" and 45 < r.ttl("s") <= 50
    assert r.getex("s", persist=True) and r.ttl("s") == -1
    assert r.getdel("s") == "hello Redis" and r.get("s") is None
    r.mset({"one": "ohmytext", "two": "mynewtext"})
    assert r.lcs("one", "two") == "mytext" and r.lcs("one", "two", len=True) == 6
    found = r.lcs("one", "two", idx=True, minmatchlen=4, withmatchlen=True)
    fields = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2]))
    assert fields == {"matches": [[[4, 7], [5, 8], 4]], "len": 6}, found
    r["like a mapping"] = "yes"
    assert "like a mapping" in r and r["like a mapping"] == "yes"
    del r["like a mapping"]
    raises(KeyError, "like", r.__getitem__, "like a mapping")


def keys(r):
    r.mset({f"key:{i}": i for i in range(500)})
    r.rpush("list:1", 1)
    assert len(set(r.scan_iter(match="key:*", count=37))) == 500
    assert set(r.scan_iter(match="key:1?")) == {f"key:1{i}" for i in range(10)}
    assert list(r.scan_iter(_type="LIST")) == ["list:1"]
    assert r.dbsize() == 501 and r.randomkey().split(":")[0] in ("key", "list")
    assert sorted(r.keys("key:49?")) == [f"key:49{i}" for i in range(10)]
    assert r.rename("key:1", "moved") and r.renamenx("key:2", "key:3") is False
    raises(redis.ResponseError, "no such key", r.rename, "nosuch", "x")
    assert r.type("list:1") == "list" and r.type("nosuch") == "none"
    assert r.copy("moved", "copy") is True and r.copy("key:3", "copy") is False
    assert r.copy("key:3", "copy", replace=True) is True and r.get("copy") == "3"
    raw = client(decode_responses=False)
    payload = raw.dump("list:1")
    assert raw.restore("list:2", 60_000, payload) == b"OK" and r.lrange("list:2", 0, -1) == ["1"]
    raises(redis.ResponseError, "BUSYKEY", raw.restore, "list:2", 0, payload)
    raises(redis.ResponseError, "checksum", raw.restore, "list:3", 0, payload[:-1] + b"x")
    assert r.unlink("list:1", "list:2", "nosuch") == 2 and r.touch("key:5", "key:6") == 2
    assert r.expire("key:5", 100) and r.expire("key:5", 200, gt=True) and r.expire("key:5", 300, nx=True) is False
    assert r.expireat("key:6", int(time.time()) + 60) and r.expiretime("key:6") > time.time() + 50
    assert r.persist("key:5") and r.ttl("key:5") == -1 and r.ttl("nosuch") == -2
    assert r.pexpire("key:7", 20) and eventually(lambda: r.get("key:7") is None)
    assert r.object("encoding", "key:8") == "int" and r.object("refcount", "key:8") >= 1
    assert r.memory_usage("key:8") > 0
    # ci/clients.sh gives out the first 32.
    other = redis.Redis(port=r.connection_pool.connection_kwargs["port"], db=32 + DATABASE, decode_responses=True)
    other.delete("travelled")
    r.set("travelled", DATABASE)
    assert r.move("travelled", 32 + DATABASE) and other.get("travelled") == str(DATABASE)
    other.delete("travelled")


def lists(r):
    assert r.rpush("l", *"abcde") == 5 and r.lpush("l", "z") == 6 and r.lpushx("nosuch", 1) == 0
    assert r.lrange("l", 0, -1) == list("zabcde") and r.llen("l") == 6
    assert r.lpop("l") == "z" and r.lpop("l", 2) == ["a", "b"] and r.rpop("l", 1) == ["e"]
    assert r.linsert("l", "before", "d", "x") == 3 and r.lset("l", 0, "C") and r.lindex("l", 0) == "C"
    assert r.rpush("p", *"aabca") == 5 and r.lpos("p", "a", rank=2) == 1 and r.lpos("p", "a", count=0) == [0, 1, 4]
    assert r.lrem("p", -1, "a") == 1 and r.ltrim("p", 1, -1) and r.lrange("p", 0, -1) == list("abc")
    assert r.lmove("p", "q", "LEFT", "RIGHT") == "a" and r.rpoplpush("p", "q") == "c"
    assert r.lmpop(2, "nosuch", "q", direction="LEFT", count=5) == ["q", ["c", "a"]]
    assert r.blpop(["nosuch", "p"], timeout=1) in (("p", "b"), ["p", "b"])
    assert r.blpop("nosuch", timeout=0.02) is None and r.blmove("nosuch", "q", 0.02) is None
    raises(redis.ResponseError, "WRONGTYPE", r.get, "l")
    r.rpush("unsorted", 3, 1, 2)
    r.mset({"w:1": 30, "w:2": 20, "w:3": 10, "name:1": "i", "name:2": "ii", "name:3": "iii"})
    assert r.sort("unsorted") == ["1", "2", "3"] and r.sort("unsorted", desc=True, start=0, num=2) == ["3", "2"]
    assert r.sort("unsorted", by="w:*", get=["#", "name:*"], groups=True) == [("3", "iii"), ("2", "ii"), ("1", "i")]
    assert r.sort("unsorted", alpha=True, store="sorted") == 3 and r.lrange("sorted", 0, -1) == ["1", "2", "3"]


def sets(r):
    assert r.sadd("a", *"abcd") == 4 and r.sadd("b", *"cdef") == 4
    assert r.sinter("a", "b") == {"c", "d"} and r.sunion("a", "b") == set("abcdef") and r.sdiff("a", "b") == {"a", "b"}
    assert r.sinterstore("c", "a", "b") == 2 and r.sintercard(2, ["a", "b"], limit=1) == 1
    assert r.smismember("a", ["a", "z"]) == [1, 0] and r.sismember("a", "a") == 1
    assert r.smove("a", "b", "a") and r.srem("b", "a", "nosuch") == 1 and r.scard("b") == 4
    r.sadd("many", *range(3000))
    assert set(r.sscan_iter("many", count=100)) == {str(i) for i in range(3000)}
    assert set(r.sscan_iter("many", match="299?")) == {f"299{i}" for i in range(10)}
    picked = r.srandmember("many", 10)
    assert len(set(picked)) == 10 and len(r.srandmember("many", -5000)) == 5000
    gone = r.spop("many", 100)
    assert len(gone) == 100 and r.scard("many") == 2900 and not any(r.smismember("many", list(gone)))


def hashes(r):
    assert r.hset("h", mapping={"one": 1, "two": 2}) == 2 and r.hset("h", "three", 3) == 1
    assert r.hset("h", items=["four", 4, "one", "1"]) == 1
    assert r.hgetall("h") == {"one": "1", "two": "2", "three": "3", "four": "4"}
    assert r.hmget("h", "one", "nosuch") == ["1", None] and r.hget("h", "two") == "2"
    assert r.hincrby("h", "one", 4) == 5 and r.hincrbyfloat("h", "two", 0.25) == 2.25
    assert r.hsetnx("h", "one", 9) == 0 and r.hexists("h", "one") and r.hstrlen("h", "two") == 4
    assert set(r.hkeys("h")) == {"one", "two", "three", "four"} and len(r.hvals("h")) == 4
    assert r.hdel("h", "three", "four", "nosuch") == 2 and r.hlen("h") == 2
    assert r.hrandfield("h") in ("one", "two") and len(r.hrandfield("h", -7)) == 7
    pairs = r.hrandfield("h", 2, withvalues=True)
    flat = [x for pair in pairs for x in pair] if isinstance(pairs[0], list) else pairs
    assert dict(zip(flat[::2], flat[1::2])) == {"one": "5", "two": "2.25"}
    r.hset("big", mapping={f"f{i}": i for i in range(2000)})
    assert dict(r.hscan_iter("big", count=50)) == {f"f{i}": str(i) for i in range(2000)}
    assert set(dict(r.hscan_iter("big", match="f199?"))) == {f"f199{i}" for i in range(10)}


def fields_that_expire(r):
    if REDIS_7_0:
        return
    r.hset("h", mapping={"a": 1, "b": 2, "c": 3})
    assert r.hexpire("h", 100, "a", "nosuch") == [1, -2]
    assert r.hexpire("h", 50, "a", gt=True) == [0] and r.hpexpire("h", 200_000, "a", gt=True) == [1]
    assert 100 < r.httl("h", "a")[0] <= 200 and r.hpttl("h", "b", "nosuch") == [-1, -2]
    assert r.hexpireat("h", int(time.time()) + 60, "b") == [1]
    assert abs(r.hexpiretime("h", "b")[0] - time.time() - 60) < 5
    assert r.hpexpireat("h", int(time.time() * 1000) + 60_000, "b", xx=True) == [1]
    assert r.hpexpiretime("h", "b")[0] > time.time() * 1000
    assert r.hpersist("h", "b", "c") == [1, -1]
    assert r.hpexpire("h", 20, "a") == [1] and eventually(lambda: r.hget("h", "a") is None)
    assert r.hgetall("h") == {"b": "2", "c": "3"}
    assert r.hexpire("h", 0, "b", "c") == [2, 2] and r.exists("h") == 0
    assert r.hexpire("h", 10, "b") in ([-2], [])
    raises(redis.ResponseError, "must match the number", r.execute_command, "HEXPIRE", "h", 10, "FIELDS", 2, "b")


def sorted_sets(r):
    assert r.zadd("z", {"a": 1, "b": 2.5, "c": 3}) == 3
    assert r.zadd("z", {"a": 2, "d": 9}, xx=True, ch=True) == 1 and r.zadd("z", {"a": 1}, lt=True) == 0
    assert r.zscore("z", "a") == 1.0 and r.zadd("z", {"a": 0.5}, incr=True) == 1.5
    assert [tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)] == [("a", 1.5), ("b", 2.5), ("c", 3.0)]
    assert r.zrange("z", "(1.5", "+inf", byscore=True) == ["b", "c"]
    assert r.zrange("z", "+inf", "-inf", byscore=True, desc=True, offset=1, num=1) == ["b"]
    assert r.zrevrangebyscore("z", "+inf", "(2.5") == ["c"] and r.zrangebyscore("z", "-inf", 2.5, start=1, num=1) == ["b"]
    assert r.zrank("z", "c") == 2 and r.zrevrank("z", "c") == 0 and r.zrank("z", "nosuch") is None
    if not REDIS_7_0:
        assert list(r.zrank("z", "b", withscore=True)) == [1, 2.5]
    assert r.zincrby("z", 10, "a") == 11.5 and r.zcount("z", 3, "inf") == 2 and r.zmscore("z", ["a", "nosuch"]) == [11.5, None]
    r.zadd("words", dict.fromkeys(["ant", "bee", "cat", "dog"], 0))
    assert r.zrangebylex("words", "[bee", "(dog") == ["bee", "cat"] and r.zlexcount("words", "-", "+") == 4
    assert r.zrange("words", "+", "-", bylex=True, desc=True, offset=0, num=2) == ["dog", "cat"]
    assert r.zrevrangebylex("words", "+", "[cat") == ["dog", "cat"] and r.zremrangebylex("words", "-", "[ant") == 1
    r.zadd("y", {"b": 1, "c": 1, "x": 7})
    assert sorted(r.zinter(["z", "y"])) == ["b", "c"] and r.zdiff(["z", "y"]) == ["a"]
    summed = [tuple(pair) for pair in r.zunion({"z": 2, "y": 1}, aggregate="MAX", withscores=True)]
    assert summed == [("b", 5.0), ("c", 6.0), ("x", 7.0), ("a", 23.0)], summed
    assert r.zunionstore("u", ["z", "y"]) == 4 and r.zscore("u", "c") == 4 and r.zintercard(2, ["z", "y"]) == 2
    assert r.zrangestore("top", "u", 0, 1) == 2 and r.zcard("top") == 2
    assert r.zpopmin("y")[0] in (["b", 1.0], ("b", 1.0), "b") and len(r.zpopmax("y", 2)) == 2
    assert r.zmpop(2, ["nosuch", "top"], min=True)[0] == "top"
    assert list(r.bzpopmin(["nosuch", "u"], timeout=1)[:2])[0] == "u" and r.bzpopmax("nosuch", timeout=0.02) is None
    assert r.bzmpop(0.02, 1, ["nosuch"], min=True) is None
    assert r.zremrangebyscore("z", 3, 4) == 1 and r.zremrangebyrank("z", 0, 0) == 1 and r.zrem("z", "a") == 1
    r.zadd("big", {f"m{i}": i / 8 for i in range(2000)})
    assert dict(r.zscan_iter("big")) == {f"m{i}": i / 8 for i in range(2000)}
    assert len(r.zrandmember("big", 20)) == 20 and r.zadd("inf", {"x": float("-inf")}) and r.zscore("inf", "x") == float("-inf")


def bits(r):
    assert r.setbit("b", 7, 1) == 0 and r.getbit("b", 7) == 1 and r.bitcount("b") == 1
    r.set("c", b"\xff\xf0\x00")
    assert r.bitpos("c", 0) == 12 and r.bitcount("c", 0, 11, "BIT") == 12 and r.bitpos("c", 1, 8, 15, "BIT") == 8
    assert r.bitop("AND", "d", "b", "c") == 3 and r.bitop("NOT", "e", "c") == 3 and r.bitcount("e") == 12
    fields = r.bitfield("f", "SAT")
    assert fields.set("u8", "#0", 250).incrby("u8", 0, 10).get("u8", 0).execute() == [0, 255, 255]
    assert r.bitfield("f", "FAIL").incrby("u8", 0, 1).execute() == [None]
    assert r.bitfield("f").incrby("u8", 0, 2, overflow="WRAP").execute() == [1]
    assert r.bitfield_ro("f", "u8", 0, items=[("i4", 4)]) == [1, 1]


def counted_about(r):
    assert r.pfadd("h", *range(1000)) == 1 and abs(r.pfcount("h") - 1000) < 30
    assert r.pfadd("h", 1) == 0 and r.pfadd("i", *range(500, 1500)) == 1
    assert r.pfmerge("j", "h", "i") and abs(r.pfcount("j") - 1500) < 45 and r.pfcount("h", "i") == r.pfcount("j")


def places(r):
    assert r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
    assert abs(r.geodist("g", "Palermo", "Catania", unit="km") - 166.2742) < 0.001 and r.geodist("g", "Palermo", "no") is None
    assert r.geohash("g", "Palermo", "Catania") == ["sqc8b49rny0", "sqdtr74hyu0"]
    assert abs(r.geopos("g", "Palermo")[0][0] - 13.361389) < 1e-5 and r.geopos("g", "no") == [None]
    found = r.geosearch("g", longitude=15, latitude=37, radius=200, unit="km", sort="ASC", withdist=True, withcoord=True, withhash=True)
    assert [place[0] for place in found] == ["Catania", "Palermo"] and abs(found[0][1] - 56.4413) < 0.001, found
    assert found[0][2] == 3479447370796909 and abs(found[0][3][1] - 37.502669) < 1e-5
    assert r.geosearch("g", member="Palermo", width=400, height=400, unit="km", count=1) == ["Palermo"]
    assert r.geosearchstore("near", "g", longitude=15, latitude=37, radius=100, unit="km", storedist=True) == 1
    assert abs(r.zscore("near", "Catania") - 56.4413) < 0.001
    assert r.georadius("g", 15, 37, 200, unit="km", sort="DESC") == ["Palermo", "Catania"]


def users(r):
    name, key = f"user{DATABASE}", f"acl{DATABASE}:"
    r.acl_deluser(name)
    assert r.acl_setuser(
        name, enabled=True, passwords=["+secret"], commands=["+get", "+set", "-set"], categories=["+@hash", "+@connection"], keys=[key + "*"],
    )
    assert name in r.acl_users() and any(line.startswith(f"user {name} on") for line in r.acl_list())
    told = r.acl_getuser(name)
    assert "on" in told["flags"] and told["enabled"] is True and len(told["passwords"]) == 1, told
    assert "+get" in told["commands"] and {"-@all", "+@connection", "+@hash"} == set(told["categories"]), told
    limited = client(username=name, password="secret")
    assert limited.ping()
    assert limited.hset(key + "h", "f", 1) == 1 and limited.get(key + "s") is None
    raises(redis.exceptions.NoPermissionError, "ermissions to access", limited.get, "elsewhere")
    raises(redis.exceptions.NoPermissionError, "'set'", limited.set, key + "s", 1)
    raises(redis.AuthenticationError, "invalid username-password", client(username=name, password="wrong", retry=Retry(NoBackoff(), 0)).ping)
    logged = r.acl_log()
    assert {entry["reason"] for entry in logged if entry["username"] == name} == {"key", "command", "auth"}, logged
    assert r.acl_dryrun(name, "get", key + "s") == "OK"
    assert "has no permissions" in r.acl_dryrun(name, "set", key + "s", 1)
    assert "geo" in r.acl_cat() and "hget" in r.acl_cat("hash") and len(r.acl_genpass()) == 64 and r.acl_whoami() == "default"
    assert r.acl_deluser(name) == 1 and r.acl_getuser(name) is None


def clients(r):
    named = client(client_name=f"tester{DATABASE}", protocol=r.connection_pool.connection_kwargs["protocol"])
    me = named.client_info()
    assert me["name"] == f"tester{DATABASE}" and int(me["id"]) == named.client_id() and me["cmd"] == "client|info", me
    assert int(me["db"]) == DATABASE and int(me["resp"]) == named.connection_pool.connection_kwargs["protocol"], me
    if not REDIS_7_0:
        assert me["lib-name"].startswith("redis-py") and me["lib-ver"] == redis.__version__, me
    assert [c["name"] for c in r.client_list(client_id=[me["id"]])] == [me["name"]]
    assert any(c["name"] == me["name"] for c in r.client_list(_type="normal"))
    assert r.client_kill_filter(_id=me["id"]) == 1 and named.client_id() != int(me["id"]) and named.client_getname() == me["name"]
    assert r.client_no_evict("ON") == "OK" and r.client_setname("renamed") and r.client_getname() == "renamed"
    assert r.client_unblock(me["id"]) == 0
    raises(redis.ResponseError, "No such client", r.client_kill, "127.0.0.1:1")


def pool_of_healthy_connections(r):
    pool = redis.ConnectionPool(
        port=r.connection_pool.connection_kwargs["port"], db=DATABASE, max_connections=2, health_check_interval=1, client_name=f"pool{DATABASE}",
    )
    pooled = redis.Redis(connection_pool=pool)
    one, two = pool.get_connection(), pool.get_connection()
    raises(redis.ConnectionError, "", pool.get_connection)
    pool.release(one), pool.release(two)
    assert pooled.ping()
    # Their connections are taken from them; the check before the next command finds it, and connects anew.
    ids = [c["id"] for c in r.client_list() if c["name"] == f"pool{DATABASE}"]
    assert len(ids) == 2 and sum(r.client_kill_filter(_id=i) for i in ids) == 2
    time.sleep(1.1)
    assert pooled.set("k", "v") and pooled.get("k") == b"v"
    pool.disconnect()


@alone
def server(r):
    about = r.info()
    assert int(about["redis_version"].split(".")[0]) >= 7 and about["connected_clients"] >= 1 and about["tcp_port"] > 0
    assert r.info("keyspace") == {} or f"db{DATABASE}" not in r.info("keyspace")
    r.set("k", 1, ex=100)
    assert r.info("keyspace")[f"db{DATABASE}"]["keys"] == 1 and r.info("keyspace")[f"db{DATABASE}"]["expires"] == 1
    r.config_resetstat()
    r.get("k")
    assert r.info("commandstats")["cmdstat_get"]["calls"] >= 1
    assert r.config_get("maxmemory", "hash-max-listpack-entries").keys() == {"maxmemory", "hash-max-listpack-entries"}
    before = r.config_get("slowlog-log-slower-than", "slowlog-max-len")
    # Others are busy on this server, and theirs are as slow.
    assert r.config_set("slowlog-log-slower-than", 0, "slowlog-max-len", 100_000) and r.slowlog_reset()
    r.get(f"slow as can be {DATABASE}")
    entries = [entry for entry in r.slowlog_get(100_000) if f"slow as can be {DATABASE}" in str(entry["command"])]
    assert len(entries) == 1 and entries[0]["duration"] >= 0 and r.slowlog_len() > 0, entries
    assert r.config_set(*(part for pair in before.items() for part in pair))
    assert r.echo("hello") == "hello" and r.time()[0] > 1.6e9 and r.lastsave()
    commands = r.command()
    assert commands["get"]["arity"] == 2 and "readonly" in commands["get"]["flags"] and r.command_count() == len(commands)
    assert r.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
    assert r.command_getkeysandflags("GET", "a")[0][0] == "a" and "expire" in r.command_list(category="keyspace")
    assert r.execute_command("COMMAND DOCS", "get") and r.latency_latest() is not None
    assert r.role()[0] == "master" and r.wait(0, 10) == 0 and r.memory_stats()["keys.count"] >= 1
    raises(redis.ResponseError, "unknown command", r.execute_command, "NOSUCHCOMMAND")


run("redis-py data", [
    strings, keys, lists, sets, hashes, fields_that_expire, sorted_sets, bits, counted_about, places, users, clients,
    pool_of_healthy_connections, server,
])
