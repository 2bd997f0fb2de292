// ioredis: types, pipelines (its automatic ones too), transactions, scripts, streams, publish and subscribe, blocking, reconnecting.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Redis } from "ioredis";
import { db, eventually, port, run, within } from "./common.js";

const { version } = createRequire(import.meta.url)("ioredis/package.json");
const channel = `ioredis${db}.`;

async function types(redis) {
  assert.equal(await redis.set("k", "v", "PX", 50_000, "NX"), "OK");
  assert.equal(await redis.set("k", "w", "NX"), null);
  assert.ok((await redis.pttl("k")) > 40_000);
  await redis.mset({ a: 1, b: 2 });
  assert.deepEqual(await redis.mget("a", "b", "nosuch"), ["1", "2", null]);
  assert.equal(await redis.hset("h", { one: 1, two: 2 }), 2);
  assert.deepEqual({ ...(await redis.hgetall("h")) }, { one: "1", two: "2" });
  await redis.zadd("z", 1.5, "x", 2, "y", Infinity, "z");
  assert.deepEqual(await redis.zrange("z", 0, -1, "WITHSCORES"), ["x", "1.5", "y", "2", "z", "inf"]);
  assert.equal(await redis.zscore("z", "x"), "1.5");
  const bytes = Buffer.from([0, 13, 10, 255, 36]);
  await redis.set("bytes", bytes);
  assert.deepEqual(await redis.getBuffer("bytes"), bytes);
  await redis.sadd("s", ...Array(500).keys());
  assert.equal((await redis.smembers("s")).length, 500);
  await assert.rejects(redis.lpush("k", 1), { name: "ReplyError", message: /^WRONGTYPE/ });
  assert.equal(await redis.call("OBJECT", "ENCODING", "a"), "int");
  assert.match(await redis.info("server"), /redis_version:\d/);
  assert.deepEqual(await redis.geosearch("nosuch", "FROMLONLAT", 1, 1, "BYRADIUS", 1, "km"), []);
}

async function scanStreams(redis) {
  const pipeline = redis.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.set(`key:${i}`, i).hset("h", `f${i}`, i).sadd("s", `m${i}`).zadd("z", i, `m${i}`);
  assert.ok((await pipeline.exec()).every(([error]) => error === null));
  const all = async (stream, step) => {
    const seen = new Set();
    for await (const part of stream) for (let i = 0; i < part.length; i += step) seen.add(part[i]);
    return seen.size;
  };
  assert.equal(await all(redis.scanStream({ match: "key:*", count: 100 }), 1), 1000);
  assert.equal(await all(redis.scanStream({ type: "hash" }), 1), 1);
  assert.equal(await all(redis.hscanStream("h", { count: 50 }), 2), 1000);
  assert.equal(await all(redis.sscanStream("s", { match: "m1*" }), 1), 111);
  assert.equal(await all(redis.zscanStream("z"), 2), 1000);
}

async function pipelines(redis) {
  assert.deepEqual(await redis.pipeline().set("p", 1).incr("p").get("p").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
  const mixed = await redis.pipeline().set("p", "x").incr("p").get("p").exec();
  assert.match(mixed[1][0].message, /not an integer/);
  assert.deepEqual(mixed[2], [null, "x"]);
  assert.deepEqual(await redis.multi().set("p", 1).incr("p").exec(), [[null, "OK"], [null, 2]]);
  await assert.rejects(redis.multi().set("p", 1).call("NOSUCHCOMMAND").exec(), /EXECABORT/);
  assert.equal((await redis.multi({ pipeline: false }), await redis.incr("p")), "QUEUED");
  assert.deepEqual(await redis.exec(), [[null, 3]]);
  await redis.watch("p");
  await redis.duplicate().set("p", "other");
  assert.equal(await redis.multi().set("p", "mine").exec(), null);
  assert.equal(await redis.get("p"), "other");
  // Commands of one turn of the event loop go as one pipeline.
  const auto = redis.duplicate({ enableAutoPipelining: true });
  await auto.del("n");
  const answers = await Promise.all(Array.from({ length: 1000 }, () => auto.incr("n")));
  assert.deepEqual(answers, Array.from({ length: 1000 }, (_, i) => i + 1));
  auto.disconnect();
}

async function scripts(redis) {
  redis.defineCommand("swap", {
    numberOfKeys: 2,
    lua: `local a, b = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
          redis.call('MSET', KEYS[1], b, KEYS[2], a) return {a, b, ARGV[1], "${process.hrtime.bigint()}"}`,
  });
  await redis.mset("a", 1, "b", 2);
  assert.deepEqual((await redis.swap("a", "b", "arg")).slice(0, 3), ["1", "2", "arg"]);
  assert.deepEqual(await redis.mget("a", "b"), ["2", "1"]);
  redis.defineCommand("fresh", { numberOfKeys: 1, lua: `return redis.call('APPEND', KEYS[1], '${process.hrtime.bigint()}')` });
  const [[, one], [, two]] = await redis.pipeline().fresh("f").fresh("f").exec();
  assert.equal(two, one * 2);
  await assert.rejects(redis.eval("return redis.call('NOSUCH')", 0), /Unknown Redis command/);
  await assert.rejects(redis.evalsha("f".repeat(40), 0), /NOSCRIPT/);
}

async function streams(redis) {
  await redis.xgroup("CREATE", "s", "g", "$", "MKSTREAM");
  const waits = redis.duplicate();
  const reading = waits.xreadgroup("GROUP", "g", "c", "COUNT", 10, "BLOCK", 10_000, "STREAMS", "s", ">");
  const id = await redis.xadd("s", "*", "field", "value");
  assert.deepEqual(await reading, [["s", [[id, ["field", "value"]]]]]);
  assert.deepEqual((await redis.xpending("s", "g")).slice(0, 3), [1, id, id]);
  const [cursor, claimed, deleted] = await redis.xautoclaim("s", "g", "d", 0, "0");
  assert.deepEqual([cursor, claimed, deleted], ["0-0", [[id, ["field", "value"]]], []]);
  assert.equal(await redis.xack("s", "g", id), 1);
  const about = await redis.xinfo("STREAM", "s");
  assert.equal(about[about.indexOf("last-generated-id") + 1], id);
  waits.disconnect();
}

async function publishAndSubscribe(redis) {
  const listener = redis.duplicate();
  const heard = [];
  listener.on("message", (where, what) => heard.push(["message", where, what]));
  listener.on("pmessage", (pattern, where, what) => heard.push([pattern, where, what]));
  listener.on("smessage", (where, what) => heard.push(["smessage", where, what]));
  assert.equal(await listener.subscribe(channel + "a", channel + "b"), 2);
  assert.equal(await listener.psubscribe(channel + "?"), 3);
  assert.equal(await listener.ssubscribe(channel + "s"), 1);
  assert.equal(await redis.publish(channel + "a", "one"), 2);
  assert.equal(await redis.publish(channel + "c", "two"), 1);
  assert.equal(await redis.spublish(channel + "s", "three"), 1);
  await eventually(() => heard.length === 4);
  assert.deepEqual(heard.sort(), [
    [channel + "?", channel + "a", "one"],
    [channel + "?", channel + "c", "two"],
    ["message", channel + "a", "one"],
    ["smessage", channel + "s", "three"],
  ].sort());
  // A connection that is lost comes back subscribed.
  listener.stream.destroy();
  const back = () => heard.some(([kind, , what]) => kind === "message" && what === "back");
  await eventually(async () => (await redis.publish(channel + "b", "back"), back()));
  listener.disconnect();
}

async function blocking(redis) {
  const workers = Array.from({ length: 4 }, () => redis.duplicate());
  const got = [];
  const working = workers.map(async (worker) => {
    for (;;) {
      const [, value] = await worker.brpop("queue", 10);
      if (value === "stop") return;
      got.push(Number(value));
    }
  });
  for (let i = 0; i < 200; i++) await redis.lpush("queue", i);
  await redis.lpush("queue", "stop", "stop", "stop", "stop");
  await within(Promise.all(working), "end of work");
  assert.deepEqual(got.sort((a, b) => a - b), [...Array(200).keys()]);
  assert.equal(await workers[0].bzpopmin("nosuch", 0.02), null);
  const moved = workers[1].blmove("from", "to", "LEFT", "RIGHT", 10);
  await redis.rpush("from", "x");
  assert.equal(await moved, "x");
  workers.forEach((worker) => worker.disconnect());
}

// Not MONITOR: what other clients do in the moment it begins is told in one piece with its OK, on which this client fails.
await run(`ioredis ${version}`, [types, scanStreams, pipelines, scripts, streams, publishAndSubscribe, blocking], [2, 3], async (protocol, check) => {
  const redis = new Redis({ port, db, protocol, retryStrategy: () => 20 });
  await redis.flushdb();
  await check(redis);
  redis.disconnect();
});
