/**
 * Transfers of trees that continue after a lost connection: the option `retries`; and after errors
 * and wrong responses of a server.
 */
import {
  Client,
  type Connection,
  ConnectionError,
  type Connector,
  isTransient,
  type Request,
} from "@degu/degu";
import { StatusError, TransferError, type TreeEvent } from "@degu/degu/files";
import { setClockAhead, speedUpTimeouts } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { listNames, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { DIRECTIONS, lastProgress, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type ChunkedBody, ChunkedBodyIter } from "@degu/degu/base";
import { BUNDLE_END, BUNDLE_TYPE, formatRecord } from "@degu/internal/files/wire/bundle.ts";
import { sha256Of } from "./bundles.ts";
import type { AppResponse } from "@degu/testing/transferring.ts";
import { miscounts } from "./trees/model.ts";

/** Registers a test in both directions; Deno reports it at the line of the call. */
const test = Deno.test.each(DIRECTIONS);

/** The pauses before retries, in milliseconds. */
const PAUSES = [1000, 2000, 4000];

/**
 * Shortens the pause after each event of a retry, which the test passes to `onEvent`. Other
 * timeouts of a second keep their time: if that of the server were short, the server would respond
 * to a bundle before the files are written, and would write them after the test.
 */
function shortenPauses() {
  let isPausing = false;
  const timeouts = speedUpTimeouts((milliseconds) => {
    const isPause = isPausing && PAUSES.includes(milliseconds);
    if (isPause) isPausing = false;
    return isPause;
  }, 1000);
  return {
    onEvent: ({ type }: TreeEvent) => void (isPausing ||= type === "retry"),
    [Symbol.dispose]: () => timeouts[Symbol.dispose](),
  };
}

const SMALL = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`s${i}`, `${i}`]));
const FILES = { ...SMALL, "d/large": "l".repeat(700_000), "d/larger": "m".repeat(900_000) };

/** Whether a request copies files. */
const isCopy = ({ method, uri, query }: Request) =>
  query === "bundle=put" || query === "bundle=get" ||
  (method === "PUT" || method === "GET") && !uri.endsWith("/") && query === null;

test("%s: retries: a call over repeatedly broken connections has one result, and reports each file once", async (direction) => {
  using pauses = shortenPauses();
  await using trees = await makeTrees(direction, FILES, { s0: "other", old: "old" });
  await using relay = new CuttingRelay(trees.serving.address);
  relay.cutEachAfter(300_000);
  // Only files that have not changed for some seconds are resumed.
  using _clock = setClockAhead(10_000);
  const client = new Client(relay.address, { timeout: 30 });
  const { result, events, outcomes } = await trees.copy(
    { retries: 2, delete: true, connections: 2, onEvent: pauses.onEvent },
    client,
  );
  assertEquals(await readTree(trees.target), { ...FILES, d: null });
  assertEquals(Object.values(outcomes), Object.keys(FILES).map(() => "copied"));
  assertEquals([result.files, result.failed, result.deleted], [22, 0, 1]);
  assertEquals(events.filter(({ type }) => type === "plan").length, 1);
  const [done, total] = lastProgress(events);
  assertEquals(done, total);
});

test("%s: retries: a file whose response is lost arrives once, and counts as copied", async (direction) => {
  for (const source of [{ a: "1" }, { a: "1", b: "2" }]) {
    using pauses = shortenPauses();
    let lostResponses = 4;
    await using trees = await makeTrees(direction, source, {}, async (request, respond) => {
      if (!isCopy(request) || lostResponses-- <= 0) return null;
      await respond();
      throw new Error("the answer is lost");
    });
    const { result, events } = await trees.copy({ retries: 3, onEvent: pauses.onEvent });
    const { files, unchanged, failed } = result;
    assertEquals([files, unchanged, failed], [Object.keys(source).length, 0, 0]);
    assertEquals(miscounts(events, result), []);
    assertEquals(lastProgress(events), [files, files]);
    assertEquals(await readTree(trees.target), source);
  }
});

test("%s: retries: a file that another writes after the list is unchanged, and part of the progress", async (direction) => {
  using pauses = shortenPauses();
  let isBusy = true;
  const source = { a: "a".repeat(5000), large: "l".repeat(100_000) };
  await using trees = await makeTrees(direction, source, {}, (request) => {
    if (!isBusy || !isCopy(request) || request.path.at(-1) !== "large") return null;
    isBusy = false;
    return [503, "Busy", {}, null];
  });
  const onEvent = (event: TreeEvent) => {
    pauses.onEvent(event);
    if (event.type !== "plan") return;
    Deno.copyFileSync(`${trees.source}/a`, `${trees.target}/a`);
    for (const dir of [trees.source, trees.target]) Deno.utimeSync(`${dir}/a`, 1, 1);
  };
  const { result, events } = await trees.copy({ retries: 2, connections: 1, onEvent });
  assertEquals([result.files, result.unchanged], [1, 1]);
  assertEquals(lastProgress(events), [105_000, 105_000]);
});

Deno.test("uploadTree: retries: a file counts as copied if the error status is of a gateway, and as unchanged if it was refused and another writes it", async () => {
  for (const text of ["b", "b".repeat(100_000)]) {
    for (
      const [status, outcome] of [[502, "copied"], [504, "copied"], [503, "unchanged"]] as const
    ) {
      using pauses = shortenPauses();
      let isFirst = true;
      await using trees = await makeTrees("upload", { a: text }, {}, async (request, respond) => {
        if (!isFirst || !isCopy(request)) return null;
        isFirst = false;
        if (outcome === "copied") await respond();
        else await Deno.copyFile(`${trees.source}/a`, `${trees.target}/a`);
        for (const dir of [trees.source, trees.target]) Deno.utimeSync(`${dir}/a`, 1, 1);
        return [status, "Error", {}, null];
      });
      const { outcomes } = await trees.copy({ retries: 2, onEvent: pauses.onEvent });
      assertEquals(outcomes, { a: outcome }, `${status}, ${text.length} bytes`);
    }
  }
});

test("%s: retries: a file that the call hasn't sent, and that another writes meanwhile, counts as unchanged", async (direction) => {
  for (const text of ["b", "b".repeat(100_000)]) {
    using pauses = shortenPauses();
    let isCut = false;
    await using trees = await makeTrees(direction, { a: text }, {}, (request) => {
      if (isCut && isCopy(request)) throw new Error("cut");
      return null;
    });
    let connection: Connection | undefined;
    const connector: Connector = {
      async connect(options) {
        if (isCut && direction === "upload") throw new ConnectionError("no", { fault: "reset" });
        return connection = await trees.client.connect(options);
      },
    };
    const onEvent = (event: TreeEvent) => {
      pauses.onEvent(event);
      if (event.type === "plan" && direction === "upload") connection!.close();
      if (event.type === "plan") isCut = true;
      if (event.type !== "retry") return;
      isCut = false;
      Deno.copyFileSync(`${trees.source}/a`, `${trees.target}/a`);
      for (const dir of [trees.source, trees.target]) Deno.utimeSync(`${dir}/a`, 1, 1);
    };
    const { outcomes } = await trees.copy({ retries: 2, connections: 1, onEvent }, connector);
    assertEquals(outcomes, { a: "unchanged" }, text.slice(0, 2));
  }
});

test("%s: retries: a call without progress ends, and a call without the option doesn't retry", async (direction) => {
  using pauses = shortenPauses();
  for (const [retries, listCount] of [[undefined, 1], [0, 1], [2, 3]] as const) {
    let requestCount = 0;
    await using trees = await makeTrees(direction, { a: "l".repeat(100_000) }, {}, (request) => {
      if (request.query !== "tree") return null;
      requestCount++;
      return [503, "Busy", {}, null];
    });
    const reported: TreeEvent[] = [];
    const onEvent = (event: TreeEvent) => {
      reported.push(event);
      pauses.onEvent(event);
    };
    const { status } = await assertRejects(() => trees.copy({ retries, onEvent }), StatusError);
    assertEquals([status, requestCount], [503, listCount]);
    const expectedRetries = PAUSES.slice(0, listCount - 1).map((ms, i) => [i + 1, ms / 1000, 503]);
    const retries503 = reported.map((event) => {
      if (event.type !== "retry") throw new Error(event.type);
      return [event.number, event.seconds, (event.error as StatusError).status];
    });
    assertEquals(retries503, expectedRetries);
  }
});

test("%s: retries: an error of a caller's function ends the call", async (direction) => {
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
      throw new ConnectionError("mine", { fault: "reset" });
    };
    const copying = () => trees.copy({ retries: 3, ...optionsOf(thrower)[name] });
    await assertRejects(copying, ConnectionError, "mine");
    assertEquals(callCount, 1, name);
  }
});

test("%s: retries: onEvent ends the call by the error of a retry, after which failed files are reported, or by another error", async (direction) => {
  const source = { a: "1", large: "l".repeat(100_000) };
  await using trees = await makeTrees(direction, source, { "a/x": "" }, (request) => {
    if (!isCopy(request) || request.path.at(-1) !== "large") return null;
    throw new Error("cut");
  });
  const other = new Error("other");
  for (const isOther of [false, true]) {
    const types: string[] = [];
    const onEvent = (event: TreeEvent) => {
      types.push(event.type);
      if (event.type === "retry") throw isOther ? other : event.error;
    };
    const { signal } = new AbortController();
    const copying = trees.copy({ retries: 1, signal, onEvent });
    const error = await copying.then(() => null, (error) => error);
    assertEquals([error === other, types.at(-1) === "retry"], [isOther, isOther]);
    assertEquals(types.filter((type) => type === "failed").length, isOther ? 0 : 2);
  }
});

Deno.test("download: retries: 64 KiB of a file that later attempts resume reset the count", async () => {
  for (
    const [retries, attemptBytes, isComplete] of [[2, 40_000, true], [1, 60_000, false]] as const
  ) {
    using pauses = shortenPauses();
    using _clock = setClockAhead(10_000);
    await using trees = await makeTrees("download", { large: "l".repeat(200_000) });
    await using relay = new CuttingRelay(trees.serving.address);
    relay.cutEachAfter(attemptBytes);
    const client = new Client(relay.address, { timeout: 30 });
    // Each attempt has one connection.
    let isConnected = false;
    const connector: Connector = {
      connect(options) {
        if (isConnected) throw new ConnectionError("refused", { fault: "reset" });
        isConnected = true;
        return client.connect(options);
      },
    };
    const onEvent = (event: TreeEvent) => {
      pauses.onEvent(event);
      if (event.type === "retry") isConnected = false;
    };
    const copying = trees.copy({ retries, connections: 1, onEvent }, connector);
    if (isComplete) assertEquals((await copying).outcomes, { large: "copied" });
    else await assertRejects(() => copying, ConnectionError);
  }
});

/** With a clock this many milliseconds behind, no file counts as settled, so none is resumed. */
const BEHIND = -100_000;
const retriesOf = (events: readonly TreeEvent[]) => events.filter(({ type }) => type === "retry");

test("%s: retries: an interrupted file is retried, even if it was just changed, and isn't reported as failed in between", async (direction) => {
  using _clock = setClockAhead(BEHIND);
  let isRetried = false;
  using pauses = shortenPauses();
  const source = { large: "l".repeat(900_000), small: "1", other: "o".repeat(100_000) };
  await using trees = await makeTrees(direction, source, { old: "2" }, (request) => {
    const isLarge = isCopy(request) && request.path.at(-1) === "large";
    if (!isLarge || isRetried) return null;
    throw new Error("cut");
  });
  const onEvent = (event: TreeEvent) => {
    isRetried ||= event.type === "retry";
    pauses.onEvent(event);
  };
  const options = { retries: 1, delete: true, connections: 1, onEvent };
  const { result, outcomes, events, deletedPaths } = await trees.copy(options);
  assertEquals(outcomes, { large: "copied", small: "copied", other: "copied" });
  assertEquals([result.failed, result.deletionsSkipped, deletedPaths], [0, null, ["old"]]);
  const [retry, ...otherRetries] = retriesOf(events);
  assert(retry?.type === "retry" && otherRetries.length === 0, Deno.inspect(events));
  assertEquals([retry.number, retry.seconds, isTransient(retry.error)], [1, 1, true]);
  // The files that the earlier attempt has copied are reported only once.
  const types = events.map(({ type }) => type);
  assert(types.indexOf("copied") < types.indexOf("retry"));
});

test("%s: retries: a file that the server refuses with 503 is requested by another attempt", async (direction) => {
  using pauses = shortenPauses();
  let requests = 0;
  await using trees = await makeTrees(direction, { large: "l".repeat(100_000) }, {}, (request) => {
    return isCopy(request) && ++requests === 1 ? refusal(503, request) : null;
  });
  const { outcomes, events } = await trees.copy({ retries: 1, onEvent: pauses.onEvent });
  assertEquals([outcomes, retriesOf(events).length], [{ large: "copied" }, 1]);
});

test("%s: retries: a file that can't be resumed over a link that always cuts fails alone, at the end", async (direction) => {
  using _clock = setClockAhead(BEHIND);
  using pauses = shortenPauses();
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
  const options = { retries: 2, connections: 1, onEvent: pauses.onEvent };
  const { result, outcomes, events } = await trees.copy(options, connector);
  assertEquals(outcomes, { large: "failed", small: "copied" });
  assertEquals([result.files, result.failed], [1, 1]);
  const numbers = retriesOf(events).map((event) => event.type === "retry" && event.number);
  assertEquals(numbers, [1, 2]);
});

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

// downloadTree and uploadTree with a server that sends errors or wrong responses: how often a file
// is requested, and which errors fail one file or the whole call. A model judges invalid responses
// and refused files in the rows of `trees.rows.ts`.

const encoder = new TextEncoder();

/** Makes a response with a body of these pieces. */
function makeStreamedResponse(type: string, pieces: readonly string[]): AppResponse {
  const chunks = [...pieces.map((piece) => encoder.encode(piece)), new Uint8Array(0)];
  return [
    200,
    "OK",
    { "content-type": type },
    new ChunkedBodyIter(chunks.map((chunk) => [null, chunk] as const)),
  ];
}

const ENTRY = { kind: "file", size: 1, modified: "2024-05-06T07:08:09.123Z" };
const MODIFIED = new Date(ENTRY.modified);

type Tree = Readonly<Record<string, string | null>>;

/** A server with its own responses to some requests, and the expected result. */
interface Row {
  readonly rule: string;
  /** The direction that the rule applies to; both by default. */
  readonly onlyDirection?: TreeDirection;
  readonly source?: Tree;
  /** Selects the requests that are counted, and answered by `respond`; all by default. */
  readonly isCounted?: (request: Request) => boolean;
  /** Returns the response to a request, counted from 1; `null` for the response of the app. */
  readonly respond: (count: number, request: Request) => AppResponse | null;
  /** The outcome of each path, or the status or code that the call rejects with. */
  readonly expected: Readonly<Record<string, string>> | number | string;
  /** A text in the error that the call rejects with. */
  readonly errorText?: string;
  /** The expected number of counted requests. */
  readonly requests?: number;
  /** The files of the target after the call. */
  readonly remaining?: Tree;
}

function refusal(status: number, { method }: Request): AppResponse {
  return [status, "Refused", {}, method === "HEAD" ? null : new Uint8Array(0)];
}

function bundle(...records: readonly string[]): AppResponse {
  return makeStreamedResponse(BUNDLE_TYPE, [...records, BUNDLE_END]);
}

/** Formats a record of a bundle, with a content of one byte. */
function recordOf(path: string, content: string, sha256: string): string {
  const record = { path: [path], status: 200, size: 1, modified: MODIFIED, sha256 } as const;
  return formatRecord(record) + content;
}

const SHA256_OF_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
const A_RECORD = recordOf("a", "a", SHA256_OF_A);

const LARGE = "l".repeat(100_000);

const rows: readonly Row[] = [
  ...[1, 2].map((wrongCount): Row => ({
    rule:
      `a small file with another digest is requested once more, then fails alone: ${wrongCount}`,
    onlyDirection: "download",
    source: { a: "a", b: "b" },
    isCounted: ({ query }) => query === "bundle=get",
    respond: (count) => {
      if (count > wrongCount) return null;
      return bundle(...["a", "b"].map((name) => recordOf(name, "x", "0".repeat(64))));
    },
    expected: wrongCount === 1 ? { a: "copied", b: "copied" } : { a: "failed", b: "failed" },
    requests: 2,
  })),
  {
    rule: "a small file that changes, or that the server can't open now, is requested once more",
    onlyDirection: "download",
    source: { a: "a", b: "b", c: "c" },
    isCounted: ({ query }) => query === "bundle=get",
    respond: (count) => {
      if (count > 1) return null;
      const records = Object.entries({ a: 409, b: 503, c: 404 } as const);
      return bundle(...records.map(([name, status]) => formatRecord({ path: [name], status })));
    },
    expected: { a: "copied", b: "copied", c: "failed" },
    requests: 2,
  },
  {
    rule: "a file whose upload is refused with 400, because it has changed, is sent once more",
    onlyDirection: "upload",
    source: { a: LARGE },
    isCounted: ({ method, uri }) => method === "PUT" && uri === "/tree/a",
    respond: (count, request) => count === 1 ? refusal(400, request) : null,
    expected: { a: "copied" },
    requests: 2,
    remaining: { a: LARGE },
  },
  ...([
    [403, "the whole call rejects if neither the target nor a file in it may be created"],
    [201, "a file that may not be created fails alone if another may"],
  ] as const).map(([first, rule]): Row => ({
    rule,
    onlyDirection: "upload",
    source: { a: "a", b: "b" },
    respond: (_, request) => {
      if (request.query === "tree") return refusal(404, request);
      if (request.method === "PUT") return refusal(403, request);
      return bundle(...([first, 403] as const).map((status) => formatRecord({ status })));
    },
    ...first === 403
      ? { expected: 403, errorText: 'PUT "/tree/"' }
      : { expected: { a: "copied", b: "failed" } },
  })),
  {
    rule: "a file fails if the server refuses it with 412, but doesn't list it",
    onlyDirection: "upload",
    source: { a: "a" },
    isCounted: ({ query }) => query === "bundle=put",
    respond: () => bundle(formatRecord({ status: 412 })),
    expected: { a: "failed" },
    requests: 1,
  },
  {
    rule: "a file that is refused with a status of its own fails alone, without further requests",
    source: { a: LARGE, b: "b" },
    respond: (_, request) => {
      const { method, uri } = request;
      if (method === "HEAD") return uri === "/tree/" ? refusal(503, request) : null;
      return uri === "/tree/a" ? refusal(403, request) : null;
    },
    expected: { a: "failed", b: "copied" },
  },
  ...[true, false].map((isAvailable): Row => ({
    rule: "a bundle that the server refuses with 503 is sent as single files, " +
      (isAvailable ? "of which others may succeed" : "unless the server refuses all requests"),
    onlyDirection: "upload",
    source: { a: "a", b: "b", c: "c" },
    respond: (_, request) => {
      const isRefused = request.uri === "/tree/b" || request.query === "bundle=put" ||
        !isAvailable && request.query !== "tree";
      return isRefused ? refusal(503, request) : null;
    },
    expected: isAvailable ? { a: "copied", b: "failed", c: "copied" } : 503,
  })),
];

async function check(row: Row, direction: TreeDirection): Promise<void> {
  const { source, isCounted: isCounted = () => true, respond, expected } = row;
  let count = 0;
  await using trees = await makeTrees(
    direction,
    source,
    {},
    (request) => isCounted(request) ? respond(++count, request) : null,
  );
  const copying = trees.copy();
  if (typeof expected === "object") {
    assertEquals((await copying).outcomes, expected);
  } else {
    const Class = typeof expected === "number" ? StatusError : TransferError;
    const error = await assertRejects<StatusError | TransferError>(
      () => copying,
      Class,
      row.errorText,
    );
    assertEquals("status" in error ? error.status : error.code, expected, error.message);
  }
  if (row.requests !== undefined) assertEquals(count, row.requests, "requests");
  const remaining = await readTree(trees.target);
  assertEquals(remaining, row.remaining ?? remaining);
}

for (const row of rows) {
  for (const direction of row.onlyDirection === undefined ? DIRECTIONS : [row.onlyDirection]) {
    Deno.test(`${direction}: ${row.rule}`, () => check(row, direction));
  }
}

Deno.test("upload with delete: if the target may not be created, the call rejects with this refusal", async () => {
  const respond = (request: Request) => {
    if (request.uri === "/tree/?tree") return refusal(404, request);
    return request.method === "PUT" ? refusal(403, request) : null;
  };
  await using trees = await makeTrees("upload", { a: "a" }, {}, respond);
  const { status } = await assertRejects(() => trees.copy({ delete: true }), StatusError);
  assertEquals(status, 403);
});

Deno.test("download: small files that have arrived before an abort get no names", async () => {
  const controller = new AbortController();
  const sendAndAbort = async function* () {
    yield [null, encoder.encode(A_RECORD)] as const;
    while ((await listNames(trees.target)).length === 0);
    controller.abort(new Error("enough"));
    yield [null, encoder.encode(recordOf("b", "a", SHA256_OF_A))] as const;
  };
  await using trees = await makeTrees("download", { a: "a", b: "a" }, {}, ({ query }) => {
    if (query !== "bundle=get") return null;
    return [200, "OK", { "content-type": BUNDLE_TYPE }, new ChunkedBodyIter(sendAndAbort())];
  });
  await assertRejects(() => trees.copy({ signal: controller.signal }), Error, "enough");
  assertEquals(await readTree(trees.target), {});
});

Deno.test("upload: a small file that another call has written counts as unchanged, also if the rest of the response is lost", async () => {
  await using trees = await makeTrees("upload", { a: "1", b: "2" }, {}, async (request) => {
    if (request.query !== "bundle=put" || (await listNames(trees.target)).length > 0) return null;
    await Deno.writeTextFile(`${trees.target}/a`, "1");
    const cut = function* () {
      yield [null, encoder.encode(formatRecord({ status: 412 }))] as const;
      throw new Error("cut");
    };
    return [200, "OK", { "content-type": BUNDLE_TYPE }, new ChunkedBodyIter(cut())];
  });
  assertEquals((await trees.copy()).outcomes, { a: "unchanged", b: "copied" });
});

Deno.test("upload: each piece of a bundle is about twice as large as the one before, unless files are read slowly", async () => {
  const names = Array.from({ length: 16 }, (_, i) => `${i}`);
  const source = Object.fromEntries(names.map((name) => [name, "x".repeat(20_000)]));
  for (const isSlow of [false, true]) {
    const fileCounts: number[] = [];
    await using trees = await makeTrees("upload", source, {}, async ({ query, body }) => {
      if (query !== "bundle=put") return null;
      for await (const [, { length }] of body as ChunkedBody) {
        if (length > 1000) fileCounts.push(Math.floor(length / 20_000));
      }
      return bundle(...names.map(() => formatRecord({ status: 201 })));
    });
    let time = 1000;
    using _clock = patch(performance, "now", () => () => time);
    using _reading = patch(Deno, "lstatSync", (lstatSync) => (path) => {
      if (isSlow) time += 501;
      return lstatSync(path);
    });
    await trees.copy();
    assertEquals(fileCounts, isSlow ? names.map(() => 1) : [1, 2, 4, 7, 2]);
  }
});

Deno.test("outcomes of small files before an error are reported", async () => {
  const events: string[] = [];
  const recordOutcome = (event: TreeEvent) => {
    if ("path" in event) events.push(`${event.type} ${event.path}`);
  };
  {
    // The second file does not arrive.
    await using trees = await makeTrees("download", { a: "a", b: "b" }, {}, ({ query }) => {
      if (query !== "bundle=get") return null;
      const sha256 = sha256Of(new TextEncoder().encode("a"));
      const line = formatRecord({ path: ["a"], status: 200, size: 1, modified: MODIFIED, sha256 });
      return makeStreamedResponse(BUNDLE_TYPE, [`${line}a`]);
    });
    await assertRejects(() => trees.copy({ onEvent: recordOutcome }), TransferError, "early");
    assertEquals(await readTree(trees.target), { a: "a" });
    assertEquals(events.splice(0), ["copied a"]);
  }
  // The first file has been replaced by a directory, and the request for the second one is refused.
  await using trees = await makeTrees("upload", { a: "a", b: "b" }, {}, ({ query }) => {
    return query === "bundle=put" ? [401, "Unauthorized", {}, new Uint8Array(0)] : null;
  });
  const onEvent = (event: TreeEvent) => {
    recordOutcome(event);
    if (event.type !== "plan") return;
    Deno.removeSync(`${trees.source}/a`);
    Deno.mkdirSync(`${trees.source}/a`);
  };
  const error = await assertRejects(() => trees.copy({ onEvent }), StatusError);
  assertEquals([error.status, events], [401, ["failed a"]]);
});
