// node-redis: types, pipelines of one turn, transactions, scripts, streams, publish and subscribe, pools, its client-side cache.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createClient, defineScript } from "redis";
import { db, eventually, port, run, within } from "./common.js";

const { version } = createRequire(import.meta.url)("redis/package.json");
const channel = `node-redis${db}.`;

async function types(client) {
  assert.equal(await client.set("k", "v", { expiration: { type: "EX", value: 50 }, condition: "NX" }), "OK");
  assert.equal(await client.set("k", "w", { condition: "NX" }), null);
  assert.equal(await client.set("k", "w", { GET: true }), "v");
  assert.equal(await client.incrByFloat("f", 1.5), "1.5");
  await client.mSet({ a: "1", b: "2" });
  assert.deepEqual(await client.mGet(["a", "b", "nosuch"]), ["1", "2", null]);
  assert.equal(await client.hSet("h", { one: 1, two: "2" }), 2);
  assert.deepEqual({ ...(await client.hGetAll("h")) }, { one: "1", two: "2" });
  assert.equal(await client.zAdd("z", [{ score: 1.5, value: "x" }, { score: Infinity, value: "y" }]), 2);
  assert.deepEqual(await client.zRangeWithScores("z", 0, -1), [{ value: "x", score: 1.5 }, { value: "y", score: Infinity }]);
  assert.equal(await client.zScore("z", "x"), 1.5);
  await client.sAdd("s", ["a", "b"]);
  assert.deepEqual([...(await client.sMembers("s"))].sort(), ["a", "b"]);
  await client.geoAdd("g", [{ longitude: 13.361389, latitude: 38.115556, member: "Palermo" }]);
  assert.deepEqual(await client.geoSearch("g", { longitude: 15, latitude: 37 }, { radius: 200, unit: "km" }), ["Palermo"]);
  await assert.rejects(client.lPush("k", "1"), /WRONGTYPE/);
  assert.deepEqual({ ...(await client.configGet("maxmemory")) }, { maxmemory: "0" });
  assert.equal(await client.sendCommand(["OBJECT", "ENCODING", "a"]), "int");
  assert.equal((await client.clientInfo()).db, db);
  assert.ok((await client.commandInfo(["get"]))[0].name === "get" && (await client.aclWhoAmI()) === "default");
}

async function iterators(client) {
  await Promise.all(Array.from({ length: 1000 }, (_, i) => Promise.all([client.set(`key:${i}`, String(i)), client.hSet("h", `f${i}`, i), client.zAdd("z", { score: i, value: `m${i}` })])));
  const keys = new Set(), fields = new Map(), members = new Map();
  for await (const part of client.scanIterator({ MATCH: "key:*", COUNT: 100 })) part.forEach((key) => keys.add(key));
  for await (const part of client.hScanIterator("h")) part.forEach(({ field, value }) => fields.set(field, value));
  for await (const part of client.zScanIterator("z")) part.forEach(({ value, score }) => members.set(value, score));
  assert.deepEqual([keys.size, fields.size, members.size, fields.get("f77"), members.get("m77")], [1000, 1000, 1000, "77", 77]);
}

async function transactions(client) {
  assert.deepEqual(await client.multi().set("p", "1").incr("p").get("p").exec(), ["OK", 2, "2"]);
  assert.deepEqual(await client.multi().set("p", "1").incr("p").execAsPipeline(), ["OK", 2]);
  await assert.rejects(client.multi().set("p", "x").incr("p").exec(), /commands failed/);
  const other = await client.duplicate().connect();
  await client.watch("p");
  await other.set("p", "other");
  await assert.rejects(client.multi().set("p", "mine").exec(), /watched keys has been changed/);
  assert.equal(await client.get("p"), "other");
  const pool = await client.createPool({ minimum: 1, maximum: 4 }).connect();
  await client.set("counter", "0");
  const add = async (own) => {
    for (;;) {
      await own.watch("counter");
      const count = Number(await own.get("counter"));
      try {
        return await own.multi().set("counter", String(count + 1)).exec();
      } catch (error) {
        if (!/watched keys/.test(error.message)) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: 40 }, () => pool.execute(add)));
  assert.equal(await client.get("counter"), "40");
  pool.destroy();
  other.destroy();
}

async function scripts(client) {
  const scripted = await createClient({
    ...client.options,
    scripts: {
      addTo: defineScript({
        NUMBER_OF_KEYS: 1,
        SCRIPT: `return redis.call('INCRBY', KEYS[1], ARGV[1]) -- ${process.hrtime.bigint()}`,
        parseCommand: (parser, key, by) => (parser.pushKey(key), parser.push(String(by))),
        transformReply: undefined,
      }),
    },
  }).connect();
  assert.deepEqual([await scripted.addTo("n", 5), await scripted.addTo("n", 5)], [5, 10]);
  assert.deepEqual(await client.eval("return {KEYS[1], ARGV[1], 3.7, redis.call('GET', KEYS[1])}", { keys: ["n"], arguments: ["x"] }), ["n", "x", 3, "10"]);
  await assert.rejects(client.evalSha("0".repeat(40)), /NOSCRIPT/);
  await assert.rejects(client.eval("error('on purpose')"), /on purpose/);
  const library = `nodelib${db}`;
  await client.functionLoad(`#!lua name=${library}\nredis.register_function('noderead${db}', function(keys) return redis.call('GET', keys[1]) end)`, { REPLACE: true });
  assert.equal(await client.fCall(`noderead${db}`, { keys: ["n"] }), "10");
  assert.equal((await client.functionList({ LIBRARYNAME: library }))[0].library_name, library);
  await client.functionDelete(library);
  scripted.destroy();
}

async function streams(client) {
  await client.xGroupCreate("s", "g", "0", { MKSTREAM: true });
  const waits = await client.duplicate().connect();
  const reading = waits.xReadGroup("g", "c", { key: "s", id: ">" }, { BLOCK: 10_000, COUNT: 10 });
  const id = await client.xAdd("s", "*", { field: "value" });
  const [{ name, messages }] = await within(reading, "message");
  assert.deepEqual([name, messages[0].id, { ...messages[0].message }], ["s", id, { field: "value" }]);
  const pending = await client.xPending("s", "g");
  assert.deepEqual([pending.pending, pending.firstId, pending.consumers[0].name], [1, id, "c"]);
  const claimed = await client.xAutoClaim("s", "g", "d", 0, "0-0");
  assert.deepEqual([claimed.nextId, claimed.messages[0].id, claimed.deletedMessages], ["0-0", id, []]);
  assert.equal(await client.xAck("s", "g", id), 1);
  const [group] = await client.xInfoGroups("s");
  assert.deepEqual([group.name, group.pending, group["last-delivered-id"]], ["g", 0, id]);
  assert.equal((await client.xInfoStream("s")).length, 1);
  assert.equal((await client.xRange("s", "-", "+"))[0].message.field, "value");
  waits.destroy();
}

async function publishAndSubscribe(client) {
  const listener = await client.duplicate().connect();
  const heard = [];
  await listener.subscribe([channel + "a", channel + "b"], (message, where) => heard.push(`${where} ${message}`));
  await listener.pSubscribe(channel + "?", (message, where) => heard.push(`pattern ${where} ${message}`));
  await listener.sSubscribe(channel + "s", (message, where) => heard.push(`shard ${where} ${message}`));
  assert.deepEqual([await client.publish(channel + "a", "1"), await client.sPublish(channel + "s", "2")], [2, 1]);
  await eventually(() => heard.length === 3);
  assert.deepEqual(heard.sort(), [`${channel}a 1`, `pattern ${channel}a 1`, `shard ${channel}s 2`].sort());
  assert.deepEqual((await client.pubSubChannels(channel + "*")).sort(), [channel + "a", channel + "b"]);
  // In RESP3 a connection that listens goes on with everything else.
  if (client.options.RESP === 3) assert.equal(await listener.set("k", "while listening"), "OK");
  await listener.unsubscribe(channel + "a");
  await eventually(async () => (await client.publish(channel + "a", "only the pattern")) === 1);
  await listener.unsubscribe();
  await listener.pUnsubscribe();
  await listener.sUnsubscribe();
  assert.equal(String(await listener.ping()), "PONG");
  listener.destroy();
}

async function blocking(client) {
  const pool = await client.createPool({ minimum: 4, maximum: 4 }).connect();
  const got = [];
  const working = Array.from({ length: 4 }, async () => {
    for (;;) {
      const { element } = await pool.blPop("queue", 10);
      if (element === "stop") return;
      got.push(Number(element));
    }
  });
  for (let i = 0; i < 200; i++) await client.rPush("queue", String(i));
  await client.rPush("queue", Array(4).fill("stop"));
  await within(Promise.all(working), "end of work");
  assert.deepEqual(got.sort((a, b) => a - b), [...Array(200).keys()]);
  const popping = pool.bzPopMax("z", 10);
  await client.zAdd("z", { score: 2.5, value: "m" });
  assert.deepEqual({ ...(await popping) }, { key: "z", value: "m", score: 2.5 });
  assert.equal(await pool.blMove("nosuch", "to", "LEFT", "RIGHT", 0.02), null);
  pool.destroy();
}

async function clientSideCache(client) {
  if (client.options.RESP !== 3) return;
  const cached = await client.duplicate({ clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: "LRU" } }).connect();
  const cache = cached.options.clientSideCache;
  await client.set("cached", "1");
  for (let i = 0; i < 50; i++) assert.equal(await cached.get("cached"), "1");
  await client.set("cached", "2");
  await eventually(async () => (await cached.get("cached")) === "2");
  assert.deepEqual({ ...(await cached.hGetAll("h")) }, {});
  await client.hSet("h", "f", "1");
  await eventually(async () => (await cached.hGetAll("h")).f === "1");
  await client.flushDb();
  await eventually(async () => (await cached.get("cached")) === null);
  if (cache?.stats) assert.ok(cache.stats().hitCount >= 30, JSON.stringify(cache.stats()));
  cached.destroy();
}

const checks = [types, iterators, transactions, scripts, streams, publishAndSubscribe, blocking, clientSideCache];
await run(`node-redis ${version}`, checks, [2, 3], async (protocol, check) => {
  const client = createClient({ RESP: protocol, database: db, socket: { port, host: "127.0.0.1" } });
  client.on("error", (error) => console.error(`node-redis: ${error}`));
  await client.connect();
  await client.flushDb();
  await check(client);
  client.destroy();
});
