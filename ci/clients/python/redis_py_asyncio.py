"""redis-py's asyncio client: pipelines, pub/sub, streams, locks, blocking, many at once."""

import asyncio
import sys
import time
import traceback

import redis
import redis.asyncio as aio
from common import DATABASE, URL


async def basics(r):
    assert await r.set("k", "v", ex=10) and await r.get("k") == "v"
    assert await r.hset("h", mapping={"a": 1}) == 1 and await r.hgetall("h") == {"a": "1"}
    assert sorted([key async for key in r.scan_iter(match="[kh]", count=1)]) == ["h", "k"]
    await asyncio.gather(*(r.incr("n") for _ in range(80)))
    assert await r.get("n") == "80"
    # A task that is cancelled while it waits must not leave its answer to another.
    waits = asyncio.create_task(r.blpop("nosuch", timeout=5))
    await asyncio.sleep(0.05)
    waits.cancel()
    try:
        await waits
    except asyncio.CancelledError:
        pass
    echoed = await asyncio.gather(*(r.echo(str(i)) for i in range(50)))
    assert echoed == [str(i) for i in range(50)], echoed


async def pipelines(r):
    async with r.pipeline(transaction=True) as pipe:
        assert await pipe.set("p", 1).incr("p").get("p").execute() == [True, 2, "2"]
    async with r.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.rpush("l", i)
        assert await pipe.execute() == list(range(1, 2001))
    async with r.pipeline() as pipe:
        await pipe.watch("p")
        await r.set("p", "other")
        pipe.multi()
        pipe.get("p")
        try:
            await pipe.execute()
            raise AssertionError("a watched key changed, and the transaction went on")
        except redis.WatchError:
            pass

    async def add(_):
        async def once(pipe):
            count = int(await pipe.get("counter") or 0)
            pipe.multi()
            pipe.set("counter", count + 1)

        await r.transaction(once, "counter")

    await asyncio.gather(*(add(i) for i in range(20)))
    assert await r.get("counter") == "20"


async def publish_and_subscribe(r):
    channel = f"async{DATABASE}.news"
    async with r.pubsub() as listener:
        await listener.subscribe(channel)
        await listener.psubscribe(channel[:-1] + "?")
        heard = []

        async def listen():
            async for message in listener.listen():
                heard.append((message["type"], message["data"]))
                if message["data"] == "stop" and message["type"] == "pmessage":
                    return

        task = asyncio.create_task(listen())
        while await r.publish(channel, "probe") != 2:
            await asyncio.sleep(0.01)
        for i in range(100):
            await r.publish(channel, i)
        await r.publish(channel, "stop")
        await asyncio.wait_for(task, 10)
        assert [d for t, d in heard if t == "message" and d != "probe"] == [str(i) for i in range(100)] + ["stop"]
        assert [d for t, d in heard if t == "pmessage" and d != "probe"] == [str(i) for i in range(100)] + ["stop"]


async def queues(r):
    async def consume(name):
        got = []
        while (found := await r.blpop("queue", timeout=10))[1] != "stop":
            got.append(int(found[1]))
        return got

    consumers = [asyncio.create_task(consume(i)) for i in range(5)]
    for i in range(200):
        await r.rpush("queue", i)
    await r.rpush("queue", *["stop"] * 5)
    assert sorted(sum(await asyncio.gather(*consumers), [])) == list(range(200))
    await r.xgroup_create("s", "g", mkstream=True)
    reading = asyncio.create_task(r.xreadgroup("g", "c", {"s": ">"}, block=10_000))
    await asyncio.sleep(0.05)
    added = await r.xadd("s", {"a": 1})
    assert added in str(await reading) and await r.xack("s", "g", added) == 1


async def locks_and_scripts(r):
    entered = []

    async def enter(i):
        async with r.lock("lock", timeout=20, sleep=0.005):
            entered.append(i)
            await asyncio.sleep(0)
            assert entered[-1] == i
            await r.incr("entered")

    await asyncio.gather(*(enter(i) for i in range(15)))
    assert await r.get("entered") == "15" and await r.exists("lock") == 0
    script = r.register_script(f"return {{KEYS[1], ARGV[1], {time.time_ns()}}}")
    assert (await script(keys=["k"], args=["v"]))[:2] == ["k", "v"]


async def main():
    started = time.monotonic()
    checks = [basics, pipelines, publish_and_subscribe, queues, locks_and_scripts]
    for protocol in (2, 3):
        for check in checks:
            async with aio.from_url(URL, decode_responses=True, protocol=protocol) as r:
                await r.flushdb()
                try:
                    await asyncio.wait_for(check(r), 60)
                except Exception:
                    traceback.print_exc()
                    sys.exit(f"FAILED: redis-py asyncio, RESP{protocol}, {check.__name__}")
    print(f"redis-py asyncio {redis.__version__}: {len(checks)} checks in RESP2 and RESP3, {time.monotonic() - started:.1f} s")


asyncio.run(main())
