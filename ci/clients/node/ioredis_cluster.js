// ioredis' Cluster against three nodes with three groups: node PROGRAM PORT 0, where PORT is one of the nodes.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Cluster } from "ioredis";
import { port } from "./common.js";

const { version } = createRequire(import.meta.url)("ioredis/package.json");
const cluster = new Cluster([{ host: "127.0.0.1", port }]);
const keys = [...Array(300).keys()].map((number) => `io:${number}`);
for (const reply of await Promise.all(keys.map((key) => cluster.set(key, 1)))) assert.equal(reply, "OK");
for (const reply of await Promise.all(keys.map((key) => cluster.incr(key)))) assert.equal(reply, 2);
assert.equal(cluster.nodes("master").length, 3);
const sizes = await Promise.all(cluster.nodes("master").map((node) => node.dbsize()));
assert.equal(sizes.reduce((sum, size) => sum + size, 0), keys.length);
const multi = await cluster.multi().set("{io}a", 1).incr("{io}a").exec();
assert.deepEqual(multi.map(([, reply]) => reply), ["OK", 2]);
await assert.rejects(cluster.mset("io:1", 1, "io:2", 2), /CROSSSLOT|same slot/);
await Promise.all(cluster.nodes("master").map((node) => node.flushall()));
assert.equal(await cluster.get(keys[0]), null);
await cluster.quit();
console.log(`ioredis ${version}, Cluster: ok`);
