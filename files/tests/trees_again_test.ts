/** Transfers of trees that continue after a lost connection: the option `retries`. */
import { markSocketError } from "@degu/internal/net/transport/connection_errors.ts";
import { Client, type Connector, isTransient, type Request } from "@degu/degu";
import { StatusError, TransferError, type TreeEvent } from "@degu/files";
import { setClockAhead, speedUpTimeouts } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** The pauses before retries, in milliseconds. */
const PAUSES = [1000, 2000, 4000];
const SMALL = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`s${i}`, `${i}`]));
const FILES = { ...SMALL, "d/large": "l".repeat(700_000), "d/larger": "m".repeat(900_000) };
const BYTES = Object.values(FILES).reduce((sum, { length }) => sum + length, 0);

/** Whether a request copies files. */
const isCopy = ({ method, uri, query }: Request) =>
  query === "bundle=put" || query === "bundle=get" ||
  (method === "PUT" || method === "GET") && !uri.endsWith("/") && query === null;

Deno.test.each(DIRECTIONS)(
  "%s: retries: a call over repeatedly broken connections has one result, and reports each file once",
  async (direction) => {
    using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
    await using trees = await makeTrees(direction, FILES, { s0: "other", old: "old" });
    await using relay = new CuttingRelay(trees.serving.address);
    relay.cutEachAfter(300_000);
    // Only files that have not changed for some seconds are resumed.
    using _clock = setClockAhead(10_000);
    const client = new Client(relay.address, { timeout: 30 });
    const { result, events, outcomes } = await trees.copy(
      { retries: 2, delete: true, connections: 2 },
      client,
    );
    assertEquals(await readTree(trees.target), { ...FILES, d: null });
    assertEquals(Object.values(outcomes), Object.keys(FILES).map(() => "copied"));
    assertEquals([result.files, result.failed, result.deleted], [22, 0, 1]);
    // The result also counts the bytes of earlier attempts of the same call.
    assertEquals(result.bytes, BYTES);
    for (const event of events) {
      if (event.type === "copied") assertEquals([event.bytes, event.resumedFrom], [event.total, 0]);
    }
    assertEquals(events.filter(({ type }) => type === "plan").length, 1);
    const last = events.findLast((event) => event.type === "progress");
    assertEquals(last?.done, last?.total);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: retries: an unchanged file is reported once, also in a directory without changes",
  async (direction) => {
    using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
    const source = { "same/a": "1", "same/b": "2", "same/below/c": "3", "mixed/d": "4" };
    let cutsConnections = false;
    await using trees = await makeTrees(direction, source, {}, (request) => {
      if (!isCopy(request) || !cutsConnections) return null;
      throw new Error("the connection is cut");
    });
    await trees.copy();
    await fill(trees.source, { "mixed/new": "5" });
    cutsConnections = true;
    const { result, outcomes } = await trees.copy({
      retries: 1,
      onEvent: ({ type }) => cutsConnections &&= type !== "retry",
    });
    assertEquals(cutsConnections, false);
    const unchanged = Object.keys(source).map((path) => [path, "unchanged"]);
    assertEquals(outcomes, { ...Object.fromEntries(unchanged), "mixed/new": "copied" });
    assertEquals([result.unchanged, result.files, result.complete], [4, 1, true]);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: retries: a file whose response is lost is reported as copied, once",
  async (direction) => {
    using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
    let lostResponses = 4;
    const source = { a: "1", b: "2" };
    await using trees = await makeTrees(direction, source, {}, async (request, respond) => {
      if (!isCopy(request) || lostResponses-- <= 0) return null;
      await respond();
      throw new Error("the answer is lost");
    });
    const { result, outcomes, events } = await trees.copy({ retries: 3 });
    assertEquals(outcomes, { a: "copied", b: "copied" });
    assertEquals([result.files, result.unchanged, result.failed], [2, 0, 0]);
    assertEquals(result.bytes, 2);
    const last = events.findLast((event) => event.type === "progress");
    assertEquals([last?.done, last?.total], [2, 2]);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: retries: a call without progress ends, and a call without the option doesn't retry",
  async (direction) => {
    using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
    for (const [retries, listCount] of [[undefined, 1], [0, 1], [2, 3]] as const) {
      let requestCount = 0;
      await using trees = await makeTrees(direction, { a: "l".repeat(100_000) }, {}, (request) => {
        if (request.query !== "tree") return null;
        requestCount++;
        return [503, "Busy", {}, null];
      });
      const reported: TreeEvent[] = [];
      const onEvent = (event: TreeEvent) => reported.push(event);
      const { status } = await assertRejects(() => trees.copy({ retries, onEvent }), StatusError);
      assertEquals([status, requestCount], [503, listCount]);
      const pauses = PAUSES.slice(0, listCount - 1).map((ms, i) => [i + 1, ms / 1000, 503]);
      const retries503 = reported.map((event) => {
        if (event.type !== "retry") throw new Error(event.type);
        return [event.number, event.seconds, (event.error as StatusError).status];
      });
      assertEquals(retries503, pauses);
    }
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: retries: an error of a caller's function ends the call",
  async (direction) => {
    await using trees = await makeTrees(direction, { a: "1", "d/b": "2" });
    const optionsOf = (thrower: () => never) => ({
      "filter.file": { filter: { file: thrower } },
      "filter.directory": { filter: { directory: thrower } },
      onEvent: { onEvent: thrower },
    });
    for (const name of ["filter.file", "filter.directory", "onEvent"] as const) {
      let callCount = 0;
      const thrower = () => {
        callCount++;
        throw markSocketError(new Deno.errors.ConnectionReset("mine"));
      };
      const copying = () => trees.copy({ retries: 3, ...optionsOf(thrower)[name] });
      await assertRejects(copying, Deno.errors.ConnectionReset, "mine");
      assertEquals(callCount, 1, name);
    }
  },
);

const XYZ = { x: "1", y: "2", z: "3" };

Deno.test("retries: maxDelete applies to the whole call, and a file that fails alone is reported at the end", async () => {
  using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
  let deletions = 0;
  let target = "";
  await using trees = await makeTrees("upload", { a: "1" }, XYZ, ({ method }) => {
    if (method !== "DELETE" || ![2, 3].includes(++deletions)) return null;
    Deno.writeTextFileSync(`${target}/w`, "4");
    throw new Error("cut");
  });
  ({ target } = trees);
  const options = { retries: 3, delete: true, maxDelete: 3, connections: 1 };
  const { result, deletedPaths, outcomes, events } = await trees.copy(options);
  const [limit] = events.filter((event) => event.type === "failed");
  assert(limit?.error instanceof TransferError);
  assertEquals([limit.error.limit, limit.error.kept], [3, null]);
  assertEquals([result.deletionsSkipped, result.deleted, deletedPaths.length], ["limit", 1, 1]);
  assertEquals(outcomes, { a: "copied", "": "failed" });
  assertEquals(Object.keys(await readTree(trees.target)).length, 4);
});

for (const changesCount of [false, true]) {
  const suffix = changesCount ? ", and counts for maxDelete" : "";
  Deno.test(`retries: a deletion whose response is lost is reported${suffix}`, async () => {
    using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
    let lostCount = 0;
    let target = "";
    await using trees = await makeTrees("upload", { a: "1" }, XYZ, async ({ method }, respond) => {
      // The client repeats a request once by itself.
      if (method !== "DELETE" || lostCount === 2) return null;
      if (++lostCount === 2 && changesCount) await Deno.writeTextFile(`${target}/w`, "4");
      await respond();
      throw new Error("the answer is lost");
    });
    ({ target } = trees);
    const options = { retries: 3, delete: true, maxDelete: 3, connections: 1 };
    const { result, deletedPaths, outcomes } = await trees.copy(options);
    const targetNames = Object.keys(await readTree(trees.target));
    const expectedOutcomes = { a: "copied", ...changesCount ? { "": "failed" } : {} };
    const expectedNames = changesCount
      ? ["w", "x", "y", "z"].filter((name) => !deletedPaths.includes(name))
      : [];
    assertEquals(targetNames.sort(), ["a", ...expectedNames]);
    assertEquals([result.deleted, deletedPaths.length], changesCount ? [1, 1] : [3, 3]);
    assertEquals([result.deletionsSkipped, outcomes], [
      changesCount ? "limit" : null,
      expectedOutcomes,
    ]);
  });
}

/** With a clock this many milliseconds behind, no file counts as settled, so none is resumed. */
const BEHIND = -100_000;
const retriesOf = (events: readonly TreeEvent[]) => events.filter(({ type }) => type === "retry");

Deno.test.each(DIRECTIONS)(
  "%s: retries: an interrupted file is retried, even if it was just changed, and isn't reported as failed in between",
  async (direction) => {
    using _clock = setClockAhead(BEHIND);
    let isCut = false, isRetried = false;
    // The server also has a timer of one second.
    using _pauses = speedUpTimeouts((ms) => {
      isRetried ||= isCut && ms === 1000;
      return PAUSES.includes(ms);
    }, 1000);
    const source = { large: "l".repeat(900_000), small: "1", other: "o".repeat(100_000) };
    await using trees = await makeTrees(direction, source, { old: "2" }, (request) => {
      const isLarge = isCopy(request) && request.path.at(-1) === "large";
      if (!isLarge || isRetried) return null;
      isCut = true;
      throw new Error("cut");
    });
    const options = { retries: 2, delete: true, connections: 1 };
    const { result, outcomes, events, deletedPaths } = await trees.copy(options);
    assertEquals(outcomes, { large: "copied", small: "copied", other: "copied" });
    assertEquals([result.failed, result.deletionsSkipped, deletedPaths], [0, null, ["old"]]);
    const [retry, ...otherRetries] = retriesOf(events);
    assert(retry?.type === "retry" && otherRetries.length === 0, Deno.inspect(events));
    assertEquals([retry.number, retry.seconds, isTransient(retry.error)], [1, 1, true]);
    // The files that the earlier attempt has copied are reported only once.
    const types = events.map(({ type }) => type);
    assert(types.indexOf("copied") < types.indexOf("retry"));
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: retries: a file that can't be resumed over a link that always cuts fails alone, at the end",
  async (direction) => {
    using _clock = setClockAhead(BEHIND);
    using _pauses = speedUpTimeouts((ms) => PAUSES.includes(ms), 1000);
    await using trees = await makeTrees(direction, { large: "l".repeat(3_000_000), small: "1" });
    await using relay = new CuttingRelay(trees.serving.address);
    // Each connection transfers more bytes than the one before.
    let bytes = 200_000;
    relay.cutEachAfter(bytes);
    const client = new Client(relay.address, { timeout: 30 });
    const connector: Connector = {
      connect: (options) => {
        relay.cutEachAfter(bytes += 100_000);
        return client.connect(options);
      },
    };
    const options = { retries: 2, connections: 1 };
    const { result, outcomes, events } = await trees.copy(options, connector);
    assertEquals(outcomes, { large: "failed", small: "copied" });
    assertEquals([result.files, result.failed], [1, 1]);
    const numbers = retriesOf(events).map((event) => event.type === "retry" && event.number);
    assertEquals(numbers, [1, 2]);
  },
);

Deno.test("retries: the option is validated, and a call over a closed connection is not retried", async () => {
  await using trees = await makeTrees("upload", { a: "1" });
  for (const retries of [-1, 0.5, NaN]) {
    await assertRejects(() => trees.copy({ retries }), RangeError);
  }
  await assertRejects(() => trees.copy({ retries: "1" as unknown as number }), TypeError);
  using connection = await trees.client.connect();
  connection.close();
  await assertRejects(() => trees.copy({ retries: Infinity }, connection));
});
