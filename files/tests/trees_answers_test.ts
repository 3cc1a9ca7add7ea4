/**
 * downloadTree and uploadTree with a server that sends errors or wrong responses: how often a file
 * is requested, and which errors fail one file or the whole call. A model judges invalid responses
 * and refused files in the rows of `trees.rows.ts`.
 */
import type { Request } from "@degu/degu";
import { ChunkedBodyIter } from "@degu/degu/base";
import { StatusError, TransferError, type TreeEvent } from "@degu/files";
import { BUNDLE_END, BUNDLE_TYPE, formatRecord } from "@degu/internal/files/bundle.ts";
import { sha256Of } from "@degu/testing/bundles.ts";
import { listNames, readTree } from "@degu/testing/directories.ts";
import type { AppResponse } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals, assertRejects } from "@std/assert";

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
