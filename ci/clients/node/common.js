// What the programs here share: node PROGRAM PORT DATABASE; each prints one line if all holds.
import assert from "node:assert/strict";

export const port = Number(process.argv[2]);
export const db = Number(process.argv[3]);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `holds()` is true, and answers what it answered. */
export async function eventually(holds, seconds = 10) {
  const until = performance.now() + seconds * 1000;
  for (;;) {
    const got = await holds();
    if (got) return got;
    assert(performance.now() < until, `not within ${seconds} s: ${holds}`);
    await sleep(10);
  }
}

/** The promise, or a failure that says what was waited for. */
export function within(promise, what, seconds = 30) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`no ${what} within ${seconds} s`)), seconds * 1000)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs the checks one after the other, tells which failed, and ends the process. */
export async function run(title, checks, protocols, connect) {
  const started = performance.now();
  for (const protocol of protocols) {
    for (const check of checks) {
      try {
        await within(connect(protocol, check), `end of ${check.name}`, 60);
      } catch (error) {
        console.error(error);
        console.error(`FAILED: ${title}, RESP${protocol}, ${check.name}`);
        process.exit(1);
      }
    }
  }
  const spoken = protocols.map((protocol) => `RESP${protocol}`).join(" and ");
  console.log(`${title}: ${checks.length} checks in ${spoken}, ${((performance.now() - started) / 1000).toFixed(1)} s`);
  process.exit(0);
}
