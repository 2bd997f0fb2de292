// BullMQ: queues of Lua scripts, blocking commands and streams; jobs of every kind done by workers, over both of its clients.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { db, eventually, port, run, sleep, within } from "./common.js";

const { version } = createRequire(import.meta.url)("bullmq/package.json");
const open = [];
let connection;

/** What is made here is closed after the check, last first. */
function made(thing) {
  thing.on("error", (error) => console.error(`bullmq: ${error}`));
  open.push(thing);
  return thing;
}
const queue = (name, options) => made(new Queue(name, { connection, ...options }));
const worker = (name, work, options) => made(new Worker(name, work, { connection, drainDelay: 1, ...options }));
const events = async (name) => {
  const it = made(new QueueEvents(name, { connection }));
  await it.waitUntilReady();
  return it;
};

async function jobs() {
  const work = queue("jobs"), heard = await events("jobs");
  const told = new Map();
  heard.on("completed", ({ jobId, returnvalue }) => told.set(jobId, returnvalue));
  let together = 0, most = 0;
  worker("jobs", async (job) => {
    most = Math.max(most, ++together);
    await job.updateProgress(50);
    await job.log(`job ${job.id}`);
    await sleep(2);
    together--;
    return job.data.n * 2;
  }, { concurrency: 10 });
  const added = await work.addBulk(Array.from({ length: 300 }, (_, n) => ({ name: "double", data: { n } })));
  assert.equal(await added[0].waitUntilFinished(heard, 20_000), 0);
  await eventually(() => told.size === 300, 30);
  assert.deepEqual(added.map((job) => told.get(job.id)), added.map((job) => job.data.n * 2));
  assert.ok(most > 1 && most <= 10, `${most} at once`);
  const counts = await work.getJobCounts("completed", "failed", "wait", "active");
  assert.deepEqual({ ...counts }, { completed: 300, failed: 0, wait: 0, active: 0 });
  const job = await work.getJob(added[7].id);
  assert.deepEqual([job.progress, await job.getState(), (await work.getJobLogs(job.id)).logs], [50, "completed", [`job ${job.id}`]]);
  assert.equal((await work.clean(0, 1000, "completed")).length, 300);
}

async function retriesAndFailures() {
  const work = queue("retries"), heard = await events("retries");
  const exhausted = [];
  heard.on("retries-exhausted", ({ jobId }) => exhausted.push(jobId));
  worker("retries", async (job) => {
    if (job.name === "never" || job.attemptsMade < 2) throw new Error(`attempt ${job.attemptsMade}`);
    return job.attemptsMade;
  });
  const lucky = await work.add("third", {}, { attempts: 5, backoff: { type: "exponential", delay: 40 } });
  const never = await work.add("never", {}, { attempts: 3, backoff: { type: "fixed", delay: 20 } });
  assert.equal(await lucky.waitUntilFinished(heard, 20_000), 2);
  await assert.rejects(never.waitUntilFinished(heard, 20_000), /attempt 2/);
  await eventually(() => exhausted.includes(never.id));
  const [failed] = await work.getFailed();
  assert.deepEqual([failed.id, failed.failedReason, failed.attemptsMade, failed.stacktrace.length], [never.id, "attempt 2", 3, 3]);
  await failed.retry();
  await eventually(async () => (await work.getJob(never.id)).attemptsMade >= 3 && (await work.getJobState(never.id)) === "failed");
}

async function delayed() {
  const work = queue("delayed"), order = [];
  const started = performance.now();
  await work.add("later", {}, { delay: 1600 });
  await work.add("sooner", {}, { delay: 800 });
  assert.equal((await work.getDelayedCount()), 2);
  worker("delayed", async (job) => void order.push([job.name, performance.now() - started]));
  await work.add("now", {});
  await eventually(() => order.length === 3, 20);
  assert.deepEqual(order.map(([name]) => name), ["now", "sooner", "later"]);
  assert.ok(order[1][1] >= 790 && order[2][1] >= 1590, `${order}`);
}

async function priorities() {
  const work = queue("priorities"), order = [];
  for (const [name, priority] of [["d", 10], ["b", 2], ["c", 5], ["a", 1], ["b2", 2]]) await work.add(name, {}, { priority });
  await work.add("first", {});
  await work.add("zeroth", {}, { lifo: true });
  worker("priorities", async (job) => void order.push(job.name));
  await eventually(() => order.length === 7);
  assert.deepEqual(order, ["zeroth", "first", "a", "b", "b2", "c", "d"]);
}

async function rateLimited() {
  const work = queue("limited"), times = [];
  await work.addBulk(Array.from({ length: 12 }, () => ({ name: "x", data: {} })));
  const started = performance.now();
  worker("limited", async () => void times.push(performance.now() - started), { limiter: { max: 4, duration: 300 }, concurrency: 4 });
  await eventually(() => times.length === 12, 20);
  assert.ok(times[4] >= 290 && times[8] >= 590, `${times}`);
}

async function flows() {
  const flow = made(new FlowProducer({ connection }));
  queue("parents"), queue("children");
  const heard = await events("parents");
  worker("children", async (job) => {
    if (job.data.n < 0) throw new Error("a child failed");
    return job.data.n;
  }, { concurrency: 5 });
  worker("parents", async (job) => Object.values(await job.getChildrenValues()).reduce((sum, n) => sum + n, 0));
  const child = (n, opts) => ({ name: "child", queueName: "children", data: { n }, opts });
  const tree = await flow.add({
    name: "root", queueName: "parents", children: [
      ...Array.from({ length: 20 }, (_, n) => child(n)),
      { name: "middle", queueName: "parents", children: [child(1000), child(2000, { delay: 100 })] },
    ],
  });
  assert.equal(await tree.job.waitUntilFinished(heard, 20_000), 190 + 3000);
  const failing = await flow.add({ name: "root", queueName: "parents", children: [child(1), child(-1, { failParentOnFailure: true })] });
  await assert.rejects(failing.job.waitUntilFinished(heard, 20_000), /child .* failed/);
}

async function schedulers() {
  const work = queue("repeated"), done = [];
  worker("repeated", async (job) => void done.push(job.data.which));
  await work.upsertJobScheduler("often", { every: 100 }, { name: "tick", data: { which: "often" } });
  await work.upsertJobScheduler("thrice", { every: 50, limit: 3 }, { name: "tick", data: { which: "thrice" } });
  await eventually(() => done.filter((which) => which === "often").length >= 4, 20);
  await eventually(() => done.filter((which) => which === "thrice").length === 3, 20);
  assert.ok((await work.getJobSchedulers()).some(({ key }) => key === "often"));
  assert.equal(await work.removeJobScheduler("often"), true);
  await work.upsertJobScheduler("nightly", { pattern: "0 0 3 * * *" }, { name: "night" });
  const { next } = await work.getJobScheduler("nightly");
  assert.ok(next > Date.now() && new Date(next).getMinutes() === 0);
}

async function pausedAndDeduplicated() {
  const work = queue("paused"), done = [];
  const doing = worker("paused", async (job) => void done.push(job.data.n));
  await doing.waitUntilReady();
  await work.pause();
  await work.add("x", { n: 1 });
  const once = await work.add("x", { n: 2 }, { deduplication: { id: "one" } });
  assert.equal((await work.add("x", { n: 3 }, { deduplication: { id: "one" } })).id, once.id);
  assert.equal((await work.add("x", { n: 4 }, { jobId: "own" })).id, "own");
  await sleep(100);
  assert.deepEqual([done.length, await work.isPaused()], [0, true]);
  await work.resume();
  await eventually(() => done.length === 3);
  assert.deepEqual(done, [1, 2, 4]);
  await work.obliterate({ force: true });
  assert.equal((await work.getJobCounts("completed")).completed, 0);
}

const checks = [jobs, retriesAndFailures, delayed, priorities, rateLimited, flows, schedulers, pausedAndDeduplicated];
await run(`BullMQ ${version}, over ioredis and node-redis`, checks, [2, 3], async (protocol, check) => {
  // One protocol for each of the clients it can be given.
  const redis = protocol === 2
    ? new Redis({ port, db, protocol, maxRetriesPerRequest: null })
    : await createClient({ RESP: protocol, database: db, socket: { port, host: "127.0.0.1" } }).on("error", console.error).connect();
  await (redis.flushDb ?? redis.flushdb).call(redis);
  connection = redis;
  await check();
  await Promise.all(open.splice(0).reverse().map((thing) => within(thing.close(), "end")));
  redis.destroy?.();
  redis.disconnect?.();
});
