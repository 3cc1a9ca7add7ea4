/** downloadTree and uploadTree where something goes wrong: files that change or stay, peers that lie or leave, full disks. */
import type { Api, AppFunction, Request, Session } from "@degu/degu";
import { ChunkedBodyIter } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import {
  FilesApp,
  isTransient,
  TransferError,
  type TreeEntry,
  type TreeEvent,
  type TreeResult,
} from "@degu/degu/files";
import {
  BUNDLE_END,
  BUNDLE_TYPE,
  formatRecord,
  type FoundRecord,
} from "@degu/internal/files/bundle.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { Root } from "@degu/internal/files/root.ts";
import { setClockAhead, slowClock } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { content, fill, tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import {
  both,
  copyElsewhere,
  type CopyJob,
  copyTree,
  DIRECTIONS,
  makeTrees,
  type TreeDirection,
} from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AS_USER, canMount, canRun, MOUNTING } from "./refused_writes.ts";

const encoder = new TextEncoder();

type Answer = Awaited<ReturnType<FilesApp["handle"]>>;

/** Changes some of the answers of an app; `null` leaves one as it is. */
function changing(
  change: (
    request: Request,
    answer: () => Promise<Answer>,
  ) => Promise<Answer | null> | Answer | null,
): (app: FilesApp) => AppFunction {
  return (app) => async (request: Request, session: Session, api: Api) => {
    const answer = () => app.handle(request, session, api);
    const changed = await change(request, answer);
    if (changed !== null && request.body?.used === false) await request.body.bytes();
    return changed ?? await answer();
  };
}

/** An answer of these pieces. */
function streamed(type: string, pieces: readonly string[]): Answer {
  const chunks = [...pieces.map((piece) => encoder.encode(piece)), new Uint8Array(0)];
  return [
    200,
    "OK",
    { "content-type": type },
    new ChunkedBodyIter(chunks.map((chunk) => [null, chunk] as const)),
  ];
}

const ENTRY = { kind: "file", size: 1, modified: "2024-05-06T07:08:09.123Z" };

/** Stands for the end of a list that does not say that it is complete. */
const CUT = {};

/** A server that lists this, and serves nothing of it. */
async function listing(entries: readonly Readonly<Record<string, unknown>>[]) {
  const lines = [...entries, { end: true }].map((entry) => JSON.stringify(entry));
  if (entries.at(-1) === CUT) lines.splice(-2);
  return await makeTrees(
    "download",
    {},
    { kept: "kept" },
    changing(({ query }) => query === "tree" ? streamed("application/json", [`[${lines}]`]) : null),
  );
}

Deno.test("download: a list without its end, that leads out of the target, or to the same path twice, is refused", async () => {
  const a = { path: ["a"], ...ENTRY }, below = { path: ["a", "b"], ...ENTRY };
  const paths = [["..", "a"], [".."], ["a/b"], ["a\0"], [], [1], "a", ["a", "b"]];
  const rows: Readonly<Record<string, unknown>>[][] = [
    [CUT],
    [a, CUT],
    ...[...paths, new Array(2100).fill("ab")].map((path) => [{ path, ...ENTRY }]),
    [a, below],
    [a, a],
    [{ ...a, kind: "other", reason: "link" }, below],
  ];
  for (const entries of rows) {
    await using trees = await listing(entries);
    const error = await assertRejects(() => trees.copy({ delete: true }), TransferError);
    assertEquals(error.code, "BAD_LIST", JSON.stringify(entries).slice(0, 100));
    assertEquals(await content(trees.target), { kept: "kept" });
  }
});

Deno.test("download: a signal that aborts while a broken file is looked at rejects with its reason", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  await using trees = await makeTrees(
    "download",
    { large: "x".repeat(3_000_000) },
    {},
    changing(({ method, path }) => {
      if (path.at(-1) !== "large") return null;
      if (method === "HEAD") controller.abort(reason);
      throw new Error("it breaks off");
    }),
  );
  const rejected = await assertRejects(() => trees.copy({ signal: controller.signal }));
  assertEquals(rejected, reason);
});

Deno.test("download: a file in the way comes back if the directory can't be made", async () => {
  const names = ["a", ...new Array(19).fill("n".repeat(205))];
  const paths = names.map((_, i) => names.slice(0, i + 1));
  const list = [
    ...paths.map((path) => ({ path, ...ENTRY, kind: "directory" })),
    { path: [...names, "f"], ...ENTRY },
    { end: true },
  ].map((entry) => JSON.stringify(entry));
  await using trees = await makeTrees(
    "download",
    {},
    { a: "precious" },
    changing(({ query }) => {
      if (query === "tree") return streamed("application/json", [`[${list}]`]);
      return [200, "OK", {}, encoder.encode("f")];
    }),
  );
  const dir = `${trees.target}/${"t".repeat(200)}`;
  await Deno.mkdir(dir);
  await Deno.rename(`${trees.target}/a`, `${dir}/a`);
  const options = { delete: true, verify: false };
  const { outcomes, result } = await copyTree("download", trees.client, dir, "/tree/", options);
  assertEquals(Object.values(outcomes), ["failed"]);
  assertEquals([result.deleted, result.failed], [0, 1]);
  assertEquals(await content(dir), { a: "precious" });
});

Deno.test("download: reserved names of a list are skipped", async () => {
  await using trees = await listing([
    { path: [".degu-files"], ...ENTRY },
    { path: [".a.DEGU-part"], ...ENTRY },
  ]);
  const { outcomes } = await trees.copy({ delete: true });
  assertEquals(outcomes, {
    ".degu-files": "skipped: reserved",
    ".a.DEGU-part": "skipped: reserved",
  });
});

/** A server whose list says that every file has one byte. */
function understating(sizes: (uri: string) => number | null): (app: FilesApp) => AppFunction {
  return changing(({ query, method, uri }) => {
    if (query === "tree") {
      const lines = ["large", "small"].map((name) => JSON.stringify({ path: [name], ...ENTRY }));
      return streamed("application/json", [`[${lines},{"end":true}]`]);
    }
    const size = method === "HEAD" ? sizes(uri) : null;
    return size === null ? null : [200, "OK", { "content-length": size }, null];
  });
}

Deno.test("download: what is larger than its list said is requested again with a new size", async () => {
  const texts = { small: "s".repeat(50_000), large: "l".repeat(300_000) };
  await using honest = await makeTrees("download", texts, {}, understating(() => null));
  assertEquals((await honest.copy()).outcomes, { large: "copied", small: "copied" });
  assertEquals(await content(honest.target), texts);
  await using lying = await makeTrees("download", texts, {}, understating(() => 1));
  const { outcomes, errors: { large } } = await lying.copy();
  assertEquals(outcomes, { large: "failed", small: "copied" });
  assert(large instanceof TransferError && large.code === "CHANGED", String(large));
});

Deno.test("download: records with another path, too many or too few of them, or none at all, reject the whole", async () => {
  const sha256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afe48bb";
  const record = (path: string[]) => {
    const time = new Date(ENTRY.modified);
    return `${formatRecord({ path, status: 200, size: 1, modified: time, sha256: `${sha256}b` })}a`;
  };
  const rows = [
    [record(["b"]), BUNDLE_END],
    [record(["a"]), record(["a"]), BUNDLE_END],
    [BUNDLE_END],
    [record(["a"])],
    ["{}\n", BUNDLE_END],
    ["nonsense"],
  ];
  const answers = [
    ...rows.map((pieces) => streamed(BUNDLE_TYPE, pieces)),
    streamed("text/plain", [record(["a"]), BUNDLE_END]),
  ];
  for (const answer of answers) {
    await using trees = await makeTrees(
      "download",
      { a: "a" },
      { kept: "kept" },
      changing(({ method }) => method === "POST" ? answer : null),
    );
    const error = await assertRejects(() => trees.copy({ delete: true }), TransferError);
    assertEquals(error.code, "UNEXPECTED_RESPONSE", error.message);
    assertEquals((await content(trees.target)).kept, "kept");
  }
});

Deno.test("download: a small file with another digest is requested once more, then fails alone", async () => {
  for (const wrong of [1, 2]) {
    let requests = 0;
    await using trees = await makeTrees(
      "download",
      { a: "a", b: "b" },
      {},
      changing(({ query }) => {
        if (query !== "bundle=get" || ++requests > wrong) return null;
        const lines = ["a", ...(requests === 1 ? ["b"] : [])].map((name) => {
          const sha256 = "0".repeat(64);
          const modified = new Date(ENTRY.modified);
          return `${formatRecord({ path: [name], status: 200, size: 1, modified, sha256 })}x`;
        });
        if (requests === 2) lines.push(lines[0]!.replace('"a"', '"b"'));
        return streamed(BUNDLE_TYPE, [...lines, BUNDLE_END]);
      }),
    );
    const { outcomes } = await trees.copy();
    const outcome = wrong === 1 ? "copied" : "failed";
    assertEquals([outcomes, requests], [{ a: outcome, b: outcome }, 2]);
  }
});

Deno.test("outcomes of small files that were known before an error count", async () => {
  const events: string[] = [];
  const note = (event: TreeEvent) => {
    if ("path" in event) events.push(`${event.type} ${event.path}`);
  };
  {
    // The second file does not arrive.
    await using trees = await makeTrees(
      "download",
      { a: "a", b: "b" },
      {},
      changing(({ query }) => {
        if (query !== "bundle=get") return null;
        const [sha256, modified] = ["0".repeat(64), new Date(ENTRY.modified)];
        const line = formatRecord({ path: ["a"], status: 200, size: 1, modified, sha256 });
        return streamed(BUNDLE_TYPE, [`${line}a`]);
      }),
    );
    await assertRejects(() => trees.copy({ verify: false, onEvent: note }), TransferError, "early");
    assertEquals(await content(trees.target), { a: "a" });
    assertEquals(events.splice(0), ["copied a"]);
  }
  // The first file is a directory by now, and the request for the second one is refused.
  await using trees = await makeTrees(
    "upload",
    { a: "a", b: "b" },
    {},
    changing(({ query }) => {
      return query === "bundle=put" ? [401, "Unauthorized", {}, new Uint8Array(0)] : null;
    }),
  );
  const onEvent = (event: TreeEvent) => {
    note(event);
    if (event.type !== "plan") return;
    Deno.removeSync(`${trees.source}/a`);
    Deno.mkdirSync(`${trees.source}/a`);
  };
  const error = await assertRejects(() => trees.copy({ onEvent }), TransferError);
  assertEquals([error.status, events], [401, ["failed a"]]);
});

Deno.test("download: a large file that changes while it is sent is requested again once, then fails alone", async () => {
  for (const times of [1, 2]) {
    let changes = 0;
    let source = "";
    await using trees = await makeTrees(
      "download",
      { large: "0".repeat(2_000_000), other: "other" },
      {},
      changing(async ({ method, uri }, answer) => {
        if (method !== "GET" || uri !== "/tree/large") return null;
        const answered = await answer();
        if (changes < times) Deno.writeTextFileSync(source, `${++changes}`.repeat(1_000_000));
        return answered;
      }),
    );
    source = `${trees.source}/large`;
    const { outcomes, result } = await trees.copy({ delete: true });
    assertEquals(outcomes, { large: times === 1 ? "copied" : "failed", other: "copied" });
    assertEquals(changes, times);
    assertEquals(result.deletionsKept, times === 1 ? null : "failed");
    if (times === 1) assertEquals((await content(trees.target)).large, "1".repeat(1_000_000));
  }
});

both("a peer that leaves rejects the whole, and calling again continues", async (direction) => {
  const texts: Record<string, string> = {};
  for (let i = 0; i < 100; i++) texts[`d/${i}`] = `text ${i}`;
  for (let i = 0; i < 4; i++) texts[`large ${i}`] = `${i}`.repeat(100_000);
  await using trees = await makeTrees(direction, texts, { superfluous: "x" });
  let count = 0;
  const onEvent = ({ type }: TreeEvent) => {
    if (type === "copied" && ++count === 2) trees.serving.server.close();
  };
  const error = await assertRejects(() => trees.copy({ onEvent, delete: true }));
  assert(isTransient(error), String(error));
  assert("superfluous" in await content(trees.target), "nothing is deleted");
  const isDownload = direction === "download";
  const [served, dir] = isDownload ? [trees.source, trees.target] : [trees.target, trees.source];
  await using serving = serve(new FilesApp(served, { list: true, write: true }));
  const { result } = await copyTree(direction, serving.makeClient(), dir, "/", { delete: true });
  assertEquals([result.files + result.unchanged, result.deleted], [104, 1]);
  assert(result.unchanged >= 2);
});

both(
  "connections that are cut are replaced, and complete files are not copied again",
  async (direction) => {
    const texts: Record<string, string> = {};
    for (let i = 0; i < 300; i++) texts[`${i}`] = `text ${i}`;
    let requests = 0;
    await using trees = await makeTrees(
      direction,
      texts,
      {},
      changing(({ method }) => {
        if (method !== "POST" || ++requests > 1) return null;
        throw new Error("the connection is cut here");
      }),
    );
    const { result } = await trees.copy();
    assertEquals([result.files, result.failed, requests], [300, 0, 2]);
    assertEquals(await content(trees.target), await content(trees.source));
  },
);

both(
  "what others make meanwhile is replaced, or fails with replace: false unless it is the same",
  async (direction) => {
    const large = "l".repeat(70_000);
    const source = { AB: "1", Ab: "22", "d/same": "333", large, "large same": large };
    const theirs = { Ab: "theirs", "d/same": "333", large: "theirs", "large same": large };
    const outcomes = Object.fromEntries(Object.keys(source).map((path) => [path, "copied"]));
    for (const replace of [true, false]) {
      await using trees = await makeTrees(direction, source);
      const onEvent = ({ type }: TreeEvent) => {
        if (type !== "plan") return;
        Deno.mkdirSync(`${trees.target}/d`);
        for (const [path, text] of Object.entries(theirs)) {
          Deno.writeTextFileSync(`${trees.target}/${path}`, text);
        }
      };
      const copied = await trees.copy({ onEvent, replace });
      const failed = replace ? {} : { Ab: "failed", large: "failed" };
      assertEquals(copied.outcomes, { ...outcomes, ...failed }, Deno.inspect(copied.errors));
      for (const error of Object.values(copied.errors)) {
        assertEquals((error as TransferError).code, "CONFLICT");
      }
      const kept = replace ? {} : { Ab: "theirs", large: "theirs" };
      const left = await content(trees.target);
      assertEquals(left, { ...await content(trees.source), ...kept });
    }
  },
);

both(
  "small files are copied in two attempts at most, and over a connection in one",
  async (direction) => {
    // A request that can be repeated is, over another connection than that of the list.
    const most = direction === "download" ? 3 : 2;
    for (const isConnection of [false, true]) {
      let requests = 0;
      await using trees = await makeTrees(
        direction,
        { a: "a", b: "b" },
        {},
        changing(({ method }) => {
          if (method !== "POST") return null;
          requests++;
          throw new Error("the connection is cut here");
        }),
      );
      using connection = await trees.client.connect();
      const error = await assertRejects(() =>
        trees.copy({}, isConnection ? connection : undefined)
      );
      assert(isTransient(error), String(error));
      assertEquals(requests, isConnection ? 1 : most);
    }
  },
);

Deno.test("upload: with replace: false a file is copied whose connection broke off once it was there, unless another has its name", async () => {
  let requests = 0;
  let target = "";
  await using trees = await makeTrees(
    "upload",
    { a: "a", b: "b" },
    {},
    changing(async ({ query }, answer) => {
      if (query !== "bundle=put" || ++requests > 1) return null;
      await answer();
      Deno.writeTextFileSync(`${target}/b`, "theirs");
      throw new Error("the connection is cut here");
    }),
  );
  target = trees.target;
  const { events, outcomes, errors: { b } } = await trees.copy({ replace: false });
  assertEquals([outcomes, requests], [{ a: "copied", b: "failed" }, 2]);
  const copied = events.flatMap((event) => event.type === "copied" ? event : []);
  const sizes = copied.map(({ bytes, total, resumedFrom }) => [bytes, total, resumedFrom]);
  assertEquals(sizes, [[0, 1, 1]], "it was there");
  assert(b instanceof TransferError && b.code === "CONFLICT", String(b));
  assertEquals(await content(trees.target), { a: "a", b: "theirs" });
});

both(
  "a refusal of one file leaves the others alone, unless it is one of all",
  async (direction) => {
    for (const status of [403, 404, 499, 401, 405, 507, 500]) {
      await using trees = await makeTrees(
        direction,
        { a: "a", b: "b".repeat(100_000), c: "c".repeat(100_000) },
        {},
        changing(({ uri, method }) => {
          if (uri !== "/tree/b" || method === "POST") return null;
          return [status, "Refused", {}, method === "HEAD" ? null : new Uint8Array(0)];
        }),
      );
      const copying = trees.copy({ connections: 1 });
      if ([401, 405, 507, 500].includes(status)) {
        const error = await assertRejects(() => copying, TransferError, "", `${status}`);
        assertEquals(error.status, status);
      } else {
        assertEquals((await copying).outcomes, { a: "copied", b: "failed", c: "copied" });
      }
    }
  },
);

both(
  "a small file that is refused is requested once more, alone or never, by its status",
  async (direction) => {
    const rows: [
      status: 400 | 403 | 404 | 409 | 413 | 414 | 503,
      download: string,
      upload: string,
    ][] = [
      [400, "", "failed 2"],
      [403, "failed 1", "failed 1"],
      [404, "failed 1", "failed 1"],
      [409, "failed 2", "failed 1"],
      [413, "copied 1", "failed 1"],
      [414, "", "failed 1"],
      [503, "failed 2", "failed 2"],
    ];
    for (const [status, ...expected] of rows) {
      const wanted = expected[DIRECTIONS.indexOf(direction)];
      if (wanted === "") continue;
      let requests = 0;
      const record = direction === "download" ? { path: ["a"], status } : { status };
      await using trees = await makeTrees(
        direction,
        { a: "a" },
        {},
        changing(({ method }) => {
          if (method !== "POST") return null;
          requests++;
          return streamed(BUNDLE_TYPE, [formatRecord(record as FoundRecord), BUNDLE_END]);
        }),
      );
      const { outcomes } = await trees.copy();
      assertEquals(`${outcomes.a} ${requests}`, wanted, `${status}`);
    }
  },
);

Deno.test("upload: a deletion that is refused fails alone, unless nothing else can be deleted either", async () => {
  for (const status of [403, 404, 409, 401, 500, null]) {
    await using trees = await makeTrees(
      "upload",
      { a: "a" },
      { old: "old" },
      changing(({ method }) => {
        if (method !== "DELETE") return null;
        if (status === null) throw new Error("the connection is cut here");
        return [status, "Refused", {}, new Uint8Array(0)];
      }),
    );
    const deleting = trees.copy({ delete: true });
    if (status === 404) assertEquals((await deleting).deleted, ["old"], "it is gone by itself");
    else if (status === 403 || status === 409) {
      assertEquals((await deleting).outcomes, { a: "copied", old: "failed" });
    } else await assertRejects(() => deleting, Error, "", `${status}`);
  }
});

both("what is gone by itself before it is deleted counts as deleted", async (direction) => {
  const texts = { a: "a", "d/old": "old", old: "old" };
  await using trees = await makeTrees(direction, { a: "a" }, texts);
  const { deleted, outcomes } = await trees.copy({
    delete: true,
    onEvent({ type }) {
      if (type !== "plan") return;
      Deno.removeSync(`${trees.target}/old`);
      Deno.removeSync(`${trees.target}/d`, { recursive: true });
    },
  });
  assertEquals(deleted.toSorted(), ["d", "d/old", "old"]);
  assertEquals(Object.keys(outcomes), ["a"]);
});

both(
  "an error that is so for all ends what is under way over other connections",
  async (direction) => {
    const waiting = Promise.withResolvers<void>();
    const never = Promise.withResolvers<void>();
    const texts = { a: "a".repeat(100_000), b: "b".repeat(100_000) };
    await using trees = await makeTrees(
      direction,
      texts,
      {},
      changing(async ({ uri, method }) => {
        if (!["/tree/a", "/tree/b"].includes(uri)) return null;
        if (uri === "/tree/a") waiting.resolve();
        await (uri === "/tree/a" ? never : waiting).promise;
        return [500, "Failed", {}, method === "HEAD" ? null : new Uint8Array(0)];
      }),
    );
    const error = await assertRejects(() => trees.copy({ connections: 2 }), TransferError);
    never.resolve();
    assertEquals(error.status, 500);
  },
);

Deno.test("upload: where neither the target nor a file in it may be made the whole is rejected, else a file alone", async () => {
  for (const first of [403, 201] as const) {
    await using trees = await makeTrees(
      "upload",
      { a: "a", b: "b" },
      {},
      changing(({ method, query }) => {
        if (query === "tree") return [404, "Not Found", {}, new Uint8Array(0)];
        if (method === "PUT") return [403, "Forbidden", {}, new Uint8Array(0)];
        const statuses = [first, 403] as const;
        return streamed(BUNDLE_TYPE, [
          ...statuses.map((status) => formatRecord({ status })),
          BUNDLE_END,
        ]);
      }),
    );
    if (first === 201) {
      assertEquals((await trees.copy()).outcomes, { a: "copied", b: "failed" });
    } else await assertRejects(() => trees.copy(), TransferError, 'PUT "/tree/"');
  }
});

Deno.test("upload: a file that is said to be another one though it may be replaced fails, after two requests", async () => {
  let bundles = 0;
  await using trees = await makeTrees(
    "upload",
    { a: "a" },
    {},
    changing(({ query }) => {
      if (query !== "bundle=put") return null;
      bundles++;
      return streamed(BUNDLE_TYPE, [formatRecord({ status: 412 }), BUNDLE_END]);
    }),
  );
  const { outcomes } = await trees.copy({ signal: AbortSignal.timeout(20_000) });
  assertEquals([outcomes, bundles], [{ a: "failed" }, 2]);
});

Deno.test("upload: what is not deleted because its directory is not listed fails alone", async () => {
  for (const status of [403, 500]) {
    await using trees = await makeTrees(
      "upload",
      { "d/A": "A" },
      { "d/A": "A", "d/a": "a" },
      changing(({ uri }) => uri === "/tree/d/" ? [status, "Refused", {}, new Uint8Array(0)] : null),
    );
    const copying = trees.copy({ delete: true, compare: "digest" });
    if (status === 500) await assertRejects(() => copying, TransferError, "500");
    else {
      const { outcomes, events } = await copying;
      assertEquals(outcomes, { "d/A": "unchanged", "d/a": "failed" });
      assert(events.some((event) => event.type === "failed" && event.at === "target"));
    }
    assertEquals(Object.keys(await content(trees.target)), ["d", "d/A", "d/a"]);
  }
});

both("a file that is gone when its content is compared is copied, or fails", async (direction) => {
  const texts = { large: "l".repeat(100_000), small: "s" };
  for (const end of ["source", "target"] as const) {
    await using trees = await makeTrees(direction, texts, texts);
    for (const name of Object.keys(texts)) await Deno.utime(`${trees.source}/${name}`, 1, 1);
    const filter = ({ name }: TreeEntry) => {
      Deno.removeSync(`${trees[end]}/${name}`);
      return true;
    };
    const outcome = end === "source" ? "failed" : "copied";
    const { outcomes } = await trees.copy({ compare: "digest", filter });
    assertEquals(outcomes, { large: outcome, small: outcome });
  }
});

both(
  "a file whose digest is refused is copied; a server that fails rejects the whole",
  async (direction) => {
    const large = "l".repeat(100_000);
    for (const status of [403, 500]) {
      let requests = 0;
      await using trees = await makeTrees(
        direction,
        { large },
        { large },
        changing(({ uri }) => {
          return uri === "/tree/large" && ++requests === 1 ? [status, "Refused", {}, null] : null;
        }),
      );
      const copying = trees.copy({ compare: "digest" });
      if (status === 403) assertEquals((await copying).outcomes, { large: "copied" });
      else await assertRejects(() => copying, TransferError, "500");
      assertEquals(requests > 1, status === 403);
    }
  },
);

for (const isReplaced of [false, true]) {
  const name = isReplaced
    ? "a file that is replaced on every second request is not asked for forever"
    : "a file is copied as long as each connection that breaks off brings more";
  both(name, async (direction) => {
    const controller = new AbortController();
    let requests = 0;
    let before: Promise<unknown> = Promise.resolve();
    await using trees = await makeTrees(direction, {}, {}, (app) => async (request, ...others) => {
      if (request.path.at(-1) === "large" && request.method !== "HEAD") {
        requests++;
        if (isReplaced && requests === 20) controller.abort(new Error("it goes on and on"));
        if (isReplaced && requests > 1 && requests % 2 === 1) {
          Deno.writeFileSync(`${trees.source}/../new`, randomBytes(2_000_000));
          Deno.renameSync(`${trees.source}/../new`, `${trees.source}/large`);
        }
      }
      // The server has seen that a connection is cut before the next one asks what has arrived.
      await before;
      const response = app.handle(request, ...others);
      before = response.catch(() => {});
      return await response;
    });
    await Deno.writeFile(`${trees.source}/large`, randomBytes(2_000_000));
    using _later = setClockAhead();
    // Also that a file begins anew is reported.
    using _slow = slowClock();
    await using relay = new CuttingRelay(trees.serving.address);
    relay.cutEachAfter(500_000);
    const { signal } = controller;
    const { outcomes, events } = await trees.copy({ signal }, new Client(relay.address));
    assertEquals(outcomes, { large: isReplaced ? "failed" : "copied" });
    // Of what has failed nothing counts.
    const bytes = isReplaced ? 0 : 2_000_000;
    assertEquals(events.at(-1), { type: "progress", bytes, total: 2_000_000 });
    assert(requests > 4 || isReplaced, `${requests}`);
    const isSame = (await content(trees.target)).large === (await content(trees.source)).large;
    assertEquals(isSame, !isReplaced);
  });
}

Deno.test("two programs may make one directory at the same time", async () => {
  await using dir = await tempDir();
  const root = new Root(dir.path);
  for (const names of [["a"], ["b", "c"], ["d", "e", "f"]]) {
    const other = () => Deno.mkdirSync(`${dir.path}/${names.join("/")}`, { recursive: true });
    assertEquals(root.makeDirectory(names, other).created, true);
    assertEquals(root.makeDirectory(names, () => {}).created, false);
  }
  const file = () => Deno.writeTextFileSync(`${dir.path}/g`, "precious");
  assertThrows(() => root.makeDirectory(["g", "h"], file), Error);
  assertEquals(await Deno.readTextFile(`${dir.path}/g`), "precious");
});

Deno.test("download: a part that another run holds fails alone; one that nobody holds is removed", async () => {
  await using trees = await makeTrees("download", { a: "a", b: "b", c: "c".repeat(70_000) });
  for (const name of ["a", "b", "c"]) {
    await Deno.writeTextFile(`${trees.target}/.${name}.degu-part`, "old");
  }
  const held = ["a", "c"].map((name) => {
    const file = Deno.openSync(`${trees.target}/.${name}.degu-part`, { write: true });
    file.lockSync(true);
    return file;
  });
  const { outcomes, errors } = await trees.copy();
  for (const file of held) file.close();
  assertEquals(outcomes, { a: "failed", b: "copied", c: "failed" });
  for (const error of Object.values(errors)) {
    assert(error instanceof TransferError && error.code === "IN_USE", String(error));
  }
  assertEquals((await trees.copy()).result.files, 2);
  assertEquals(Object.keys(await content(trees.target)), ["a", "b", "c"]);
});

Deno.test("download: parts of small files that a killed run has left are removed, unless another run holds them", async () => {
  await using trees = await makeTrees("download", { a: "a", "d/b": "b" }, { d: null });
  const [free, held, deep] = ["", "", "d/"].map((directory, i) =>
    `${trees.target}/${directory}.small-0123456789abcde${i}-${i}.degu-part`
  );
  for (const path of [free, held, deep]) await Deno.writeTextFile(path!, "old");
  const lock = Deno.openSync(held!, { write: true });
  // A lock that is shared is one, too.
  lock.lockSync(false);
  await trees.copy({ dryRun: true });
  assertEquals(Deno.statSync(free!).size, 3);
  await trees.copy();
  lock.close();
  const left = Object.keys(await content(trees.target));
  assertEquals(left, [".small-0123456789abcde1-1.degu-part", "a", "d", "d/b"]);
  await trees.copy();
  assertEquals(Object.keys(await content(trees.target)), ["a", "d", "d/b"]);
});

both("left-over parts go with their directory, one that is held stays", async (direction) => {
  await using trees = await makeTrees(
    direction,
    { a: "a" },
    { "d/.x.degu-part": "x", "d/.x.degu-part.json": "{}", "e/f/.y.degu-part": "y" },
  );
  using held = await Deno.open(`${trees.target}/e/f/.y.degu-part`, { write: true });
  held.lockSync(true);
  const { deleted, outcomes, errors } = await trees.copy({ delete: true });
  assertEquals(deleted, ["d"]);
  // Not those that it is in: they can't be empty.
  assertEquals(outcomes, { a: "copied", "e/f": "failed" });
  const error = errors["e/f"];
  assert(error instanceof TransferError, String(error));
  if (direction === "download") assertEquals(error.code, "IN_USE");
  const left = ["a", "e", "e/f", "e/f/.y.degu-part"];
  assertEquals(Object.keys(await content(trees.target)), left);
});

/** A tree of which this user may not read, search or write everything. */
interface ClosedRow {
  readonly name: string;
  /** Paths that begin with `source` or `target`, with their modes. */
  readonly modes: Readonly<Record<string, number>>;
  readonly source: Readonly<Record<string, string>>;
  readonly target: Readonly<Record<string, string>>;
  readonly outcomes: Readonly<Record<string, string>>;
  readonly deleted: readonly string[];
  readonly kept: TreeResult["deletionsKept"];
  /** The files at the target then. */
  readonly left: readonly string[];
  readonly only?: TreeDirection;
}

const closedRows: readonly ClosedRow[] = [
  {
    name: "what can't be read fails, and keeps everything that seems to be superfluous",
    modes: { "source/secret": 0o200, "source/closed": 0o300, "source/unsearched": 0o600 },
    source: { a: "a", secret: "s", "closed/x": "x", "unsearched/y": "y" },
    target: { old: "old", "closed/z": "z" },
    outcomes: { a: "copied", secret: "failed", closed: "failed", unsearched: "failed" },
    deleted: [],
    kept: "incomplete",
    left: ["a", "closed/z", "old"],
  },
  {
    name: "what can't be read at the target stays, with its directory",
    modes: { "target/d/secret": 0o200, "target/closed": 0o300 },
    source: { a: "a" },
    target: { "d/secret": "s", "d/old": "o", "closed/x": "x", old: "o" },
    outcomes: { a: "copied" },
    deleted: ["d/old", "old"],
    kept: null,
    left: ["a", "closed/x", "d/secret"],
  },
  {
    // It is not said what else in it is gone.
    name: "a directory in the way that can't be removed is left for the file",
    modes: { "target/a/closed": 0o500 },
    source: { a: "a" },
    target: { "a/closed/x": "x" },
    outcomes: { a: "failed" },
    deleted: [],
    kept: "failed",
    left: ["a/closed/x"],
    only: "download",
  },
];

Deno.test({
  name: "what a user may not read, search or write fails alone, or stays (needs unshare)",
  ignore: !await canRun(...AS_USER),
  async fn() {
    await using dir = await tempDir();
    const jobs = closedRows.flatMap((row, i) => {
      return (row.only === undefined ? DIRECTIONS : [row.only]).map((direction) => {
        return { row, dir: `${dir.path}/${i}${direction}`, direction };
      });
    });
    for (const { row, dir } of jobs) {
      await fill(`${dir}/source`, row.source);
      await fill(`${dir}/target`, row.target);
      for (const [path, mode] of Object.entries(row.modes)) {
        await Deno.chmod(`${dir}/${path}`, mode);
      }
    }
    const all = await copyElsewhere(AS_USER, [
      ...jobs,
      ...jobs.map((job) => ({ ...job, options: { delete: true, dryRun: true } })),
    ]);
    for (const [i, { row, dir, direction }] of jobs.entries()) {
      for (const path of Object.keys(row.modes)) await Deno.chmod(`${dir}/${path}`, 0o700);
      const { outcomes, deleted, result } = all[i]!;
      const shown = `${direction}: ${row.name}: ${Deno.inspect(all[i])}`;
      assertEquals([outcomes, deleted.toSorted()], [row.outcomes, row.deleted], shown);
      assertEquals(result.deletionsKept, row.kept, shown);
      const left = Object.entries(await content(`${dir}/target`));
      assertEquals(left.flatMap(([path, text]) => text === null ? [] : path), row.left, shown);
      // Without an attempt nobody knows whether a directory can be removed.
      if (row.kept === "failed") continue;
      const again = Object.entries(row.outcomes).map(([path, outcome]) => {
        return [path, outcome === "copied" ? "unchanged" : outcome];
      });
      assertEquals(all[jobs.length + i]!.outcomes, Object.fromEntries(again), shown);
    }
  },
});

Deno.test({
  name: "what is in the way on another disk is not emptied (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await tempDir();
    // The mount point itself, and a directory on the other disk, to which an upload can't be renamed.
    const rows = [["download", "disk"], ["upload", "disk"], ["upload", "disk/d"]] as const;
    const jobs: CopyJob[] = rows.map(([direction], i) => ({ dir: `${dir.path}/${i}`, direction }));
    for (const [i, [, path]] of rows.entries()) {
      await fill(`${dir.path}/${i}`, { [`source/${path}`]: "file", "target/disk": null });
    }
    // Nothing is in the way: a download may reach over disks, wherever an app keeps its unfinished files.
    jobs.push({ dir: `${dir.path}/reaching`, direction: "download" });
    await fill(`${dir.path}/reaching`, {
      "source/disk/d/precious": "",
      "source/disk/new/file": "file",
      "target/disk": null,
      [`target/${RESERVED}`]: null,
    });
    const script = 'for disk in "$0"/*/target/disk; do mount -t tmpfs tmpfs "$disk" && ' +
      'mkdir "$disk/d" && touch "$disk/d/precious" || exit; done; exec "$@"';
    const copied = await copyElsewhere([...MOUNTING, script, dir.path], jobs);
    for (const { left } of copied) assert(left.includes("disk/d/precious"), Deno.inspect(copied));
    assert(copied.at(-1)!.left.includes("disk/new/file"), Deno.inspect(copied));
  },
});

Deno.test({
  name: "a full disk rejects the whole, and leaves no part (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await tempDir();
    const jobs = DIRECTIONS.map((direction) => {
      return { dir: `${dir.path}/${direction}`, direction, options: { connections: 2 } };
    });
    const files = Array.from({ length: 200 }, (_, i) => [`source/${i}`, "x".repeat(20_000)]);
    for (const { dir } of jobs) await fill(dir, { ...Object.fromEntries(files), target: null });
    const script =
      'for disk in "$0"/*/target; do mount -t tmpfs -o size=2M tmpfs "$disk" || exit; ' +
      'done; exec "$@"';
    const [download, upload] = await copyElsewhere([...MOUNTING, script, dir.path], jobs);
    assert(download!.rejected?.includes("DISK_FULL"), download!.rejected);
    assert(upload!.rejected?.includes("507"), upload!.rejected);
    const left = [...download!.left, ...upload!.left];
    assertEquals(left.filter((name) => name.includes("part")), []);
  },
});

Deno.test("download: no part is written through a link that has replaced a directory in a turn of others", async () => {
  await using trees = await makeTrees("download", { "d/a": "a", "d/b": "b" }, { d: null });
  const { target } = trees;
  await Deno.mkdir(`${target}/../outside`);
  await Deno.utime(`${target}/../outside`, 1, 1);
  await makeLinks({ [`${target}/../link`]: "../outside" });
  const { lstat, openSync } = Deno;
  const { now } = performance;
  let time = now.call(performance);
  // A turn is over once a part has been opened.
  performance.now = () => time;
  Deno.openSync = (path, options) => {
    if (`${path}`.includes("/.small-")) time += 10;
    return openSync(path, options);
  };
  Deno.lstat = (path) => {
    if (!Array.from(Deno.readDirSync(`${target}/d`)).length) return lstat(path);
    Deno.lstat = lstat;
    Deno.renameSync(`${target}/d`, `${target}/../exchanged`);
    Deno.renameSync(`${target}/../link`, `${target}/d`);
    return lstat(path);
  };
  try {
    assertEquals((await trees.copy()).outcomes, { "d/a": "failed", "d/b": "failed" });
  } finally {
    Object.assign(Deno, { lstat, openSync });
    performance.now = now;
  }
  assertEquals((await Deno.stat(`${target}/../outside`)).mtime, new Date(1000));
});

Deno.test("download: a small file stays locked until it has its name, so that nobody takes it for left over", async () => {
  await using trees = await makeTrees("download", { a: "a", b: "b" });
  const { linkSync } = Deno;
  const seen: boolean[] = [];
  Deno.linkSync = (from, to) => {
    using file = Deno.openSync(from, { write: true });
    seen.push(file.tryLockSync(true));
    linkSync(from, to);
  };
  try {
    await trees.copy({ replace: false });
  } finally {
    Deno.linkSync = linkSync;
  }
  assertEquals(seen, [false, false]);
});

Deno.test("download: no part is written through a link that has replaced a directory while too many files were open", async () => {
  await using trees = await makeTrees("download", { "d/a": "a" }, { d: null });
  const { target } = trees;
  await Deno.mkdir(`${target}/../outside`);
  await Deno.utime(`${target}/../outside`, 1, 1);
  await makeLinks({ [`${target}/../link`]: "../outside" });
  const { openSync } = Deno;
  const { now } = performance;
  Deno.openSync = (path, options) => {
    if (!`${path}`.includes("/.small-")) return openSync(path, options);
    Deno.openSync = openSync;
    // It is tried again in the same turn.
    performance.now = () => 0;
    Deno.renameSync(`${target}/d`, `${target}/../exchanged`);
    Deno.renameSync(`${target}/../link`, `${target}/d`);
    throw Object.assign(new Error("too many open files"), { code: "EMFILE" });
  };
  try {
    assertEquals((await trees.copy()).outcomes, { "d/a": "failed" });
  } finally {
    Deno.openSync = openSync;
    performance.now = now;
  }
  assertEquals((await Deno.stat(`${target}/../outside`)).mtime, new Date(1000));
});

Deno.test("download: while too many files are open, small ones are requested once more, and fail alone", async () => {
  for (const [code, most] of [["EMFILE", 2], ["ENFILE", 2], ["EROFS", 1]] as const) {
    let requests = 0;
    await using trees = await makeTrees(
      "download",
      { small: "a" },
      {},
      changing(({ method }) => {
        if (method === "POST") requests++;
        return null;
      }),
    );
    const { openSync } = Deno;
    Deno.openSync = (path, options) => {
      if (!`${path}`.includes("/.small-")) return openSync(path, options);
      throw Object.assign(new Error("it can't be opened"), { code });
    };
    try {
      const { outcomes, errors } = await trees.copy();
      assertEquals([outcomes, requests], [{ small: "failed" }, most], code);
      assertEquals((errors.small as Error).message, `"small": it can't be opened`);
    } finally {
      Deno.openSync = openSync;
    }
  }
});

const LIMITED = ["unshare", "-r", "sh", "-c", 'ulimit -n 128; exec "$@"', "sh"];
Deno.test({
  name: "more files and directories than can be open at once (needs unshare)",
  ignore: !await canRun(...LIMITED),
  async fn() {
    await using dir = await tempDir();
    const jobs = DIRECTIONS.map((direction) => ({ dir: `${dir.path}/${direction}`, direction }));
    for (const { dir } of jobs) {
      for (let i = 0; i < 150; i++) {
        await fill(dir, {
          [`source/${i}`]: "x",
          [`source/made/${i}`]: null,
          [`source/kept/${i}`]: null,
          [`target/kept/${i}/old`]: "old",
        });
      }
    }
    for (const { result, rejected } of await copyElsewhere(LIMITED, jobs)) {
      assertEquals(rejected, undefined);
      assertEquals([result.files, result.deleted, result.failed], [150, 150, 0]);
    }
  },
});
