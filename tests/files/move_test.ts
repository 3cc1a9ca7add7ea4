/** uploadTree with `move`: copied files are removed from the source, and no file is lost. */
import { Client, type Request, routes } from "@degu/degu";
import { downloadTree, FilesApp, TransferError, uploadTree } from "@degu/degu/files";
import type { TreeEvent, UploadTreeOptions } from "@degu/degu/files";
import { BodyIter } from "@degu/degu/base";
import { BUNDLE_END, BUNDLE_TYPE } from "@degu/internal/files/bundle.ts";
import { setClockAhead, speedUpClock, speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { makeOddDiskScript } from "@degu/testing/odd_disk.ts";
import { patch } from "@degu/testing/patching.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { HAS_LINKS, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { changeResponses, copyInProcess, copyTree, makeTrees } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AS_USER, canMount, canRun, IN_MOUNT_NAMESPACE } from "./refused_writes.ts";

const MOVE: UploadTreeOptions = { move: true };
const LARGE = "l".repeat(70_000);
const SIZES = { "a small file": "small", "a large file": LARGE };
/** Makes file times older than the resolution below which a change can't be detected. */
const LATER = 10_000;

type Tree = Readonly<Record<string, string | null>>;

/** Makes trees for an upload, with files that haven't changed for some seconds. */
async function makeOutbox(
  source: Tree,
  target: Tree = {},
  change: Parameters<typeof changeResponses>[0] = () => null,
) {
  const trees = await makeTrees("upload", source, target, changeResponses(change));
  const clock = setClockAhead(LATER);
  return {
    ...trees,
    [Symbol.asyncDispose]: () => {
      clock[Symbol.dispose]();
      return trees[Symbol.asyncDispose]();
    },
  };
}

/** Whether a request writes files. */
const isWrite = ({ method, uri, query }: Request) =>
  method === "PUT" && !uri.endsWith("/") || query === "bundle=put";

Deno.test("move: each local file is removed after it is copied, with an event after that of the copy; directories stay", async () => {
  const files = { small: "1", "d/small": "2", "d/e/large": LARGE, empty: "" };
  await using trees = await makeOutbox({ ...files, "d/f": null });
  const { result, outcomes, events } = await trees.copy(MOVE);
  assertEquals(await readTree(trees.source), { d: null, "d/e": null, "d/f": null });
  assertEquals(await readTree(trees.target), { ...files, d: null, "d/e": null, "d/f": null });
  assertEquals(outcomes, Object.fromEntries(Object.keys(files).map((path) => [path, "copied"])));
  assertEquals([result.files, result.removed, result.failed], [4, 4, 0]);
  for (const path of Object.keys(files)) {
    const types = events.filter((event) => "path" in event && event.path.join("/") === path);
    assertEquals(types.map(({ type }) => type), ["copied", "removed"], path);
  }
  const secondCopy = await trees.copy(MOVE);
  assertEquals([secondCopy.result.files, secondCopy.result.removed], [0, 0]);
});

Deno.test("move: a source without files causes no request", async () => {
  const requests: string[] = [];
  await using trees = await makeOutbox({ d: null }, {}, ({ method, uri }) => {
    requests.push(`${method} ${uri}`);
    return null;
  });
  await Deno.remove(`${trees.source}/d`);
  assertEquals((await trees.copy(MOVE)).result.removed, 0);
  assertEquals(requests, []);
  await fill(trees.source, { a: "1" });
  const client = new Client(trees.serving.server.address);
  assertEquals((await uploadTree(client, trees.source, [], MOVE)).removed, 1);
  assertEquals(requests, ["PUT /", "POST /?bundle=digest", "POST /?bundle=put"]);
});

Deno.test("move: a move to the root of an app, wherever it is mounted, causes no refusal and no log line", async () => {
  await using trees = await makeOutbox({ small: "1", large: LARGE });
  for (const write of [true, "add"] as const) {
    const logger = new RecordingLogger();
    const options = { create: true, write, logger };
    const app = new FilesApp(`${trees.target}/${write}`, options);
    await using serving = serve(routes({ "/inbox/": app }));
    await fill(trees.source, { small: "1", large: LARGE });
    const { removed } = await uploadTree(serving.makeClient(), trees.source, ["inbox"], MOVE);
    assertEquals([removed, logger.lines], [2, []]);
  }
});

Deno.test("move: entries that are not copied stay: links, pipes, reserved names, excluded and refused files", async () => {
  await using trees = await makeOutbox(
    { excluded: "1", "bad/x": "2", "bad large": LARGE, ".x.degu-part": "3", good: "4" },
    { "bad/x/y": "5", "bad large/y": "6" },
  );
  await makeLinks({ [`${trees.source}/link`]: "good" });
  const hasPipe = await makeFifo(`${trees.source}/pipe`);
  const sourceBefore = await readTree(trees.source);
  const filter = ({ name }: { name: string }) => name !== "excluded";
  const { result, outcomes } = await trees.copy({ ...MOVE, filter });
  const { good: _good, ...remaining } = sourceBefore;
  assertEquals(await readTree(trees.source), remaining);
  assertEquals(outcomes, {
    ".x.degu-part": "skipped: reserved",
    link: "skipped: link",
    ...hasPipe ? { pipe: "skipped: special" } : {},
    "bad/x": "failed",
    "bad large": "failed",
    good: "copied",
  });
  assertEquals(result.removed, 1);
});

Deno.test("move: a file that the server refuses after it was sent stays", async () => {
  for (const [name, text] of Object.entries(SIZES)) {
    await using trees = await makeOutbox({ x: text }, {}, (request) => {
      return isWrite(request) ? [413, "Content Too Large", {}, null] : null;
    });
    await trees.copy(MOVE).catch(() => {});
    assertEquals(await readTree(trees.source), { x: text }, name);
  }
});

/** Changes of a source file by another process, as soon as the file is at the target. */
const CHANGES: Readonly<Record<string, [(path: string) => void, left: (text: string) => Tree]>> = {
  "is appended to": [
    (path) => Deno.writeTextFileSync(path, "more", { append: true }),
    (text) => ({ x: text + "more" }),
  ],
  "is replaced by a file of the same size and time": [(path) => {
    const { size, mtime } = Deno.statSync(path);
    Deno.writeTextFileSync(`${path}.new`, "n".repeat(size));
    Deno.utimeSync(`${path}.new`, mtime!, mtime!);
    Deno.renameSync(`${path}.new`, path);
  }, (text) => ({ x: "n".repeat(text.length) })],
  "is touched": [(path) => Deno.utimeSync(path, 1, 1), (text) => ({ x: text })],
  "is replaced by a directory": [(path) => {
    Deno.removeSync(path);
    Deno.mkdirSync(path);
  }, () => ({ x: null })],
  "is removed": [(path) => Deno.removeSync(path), () => ({})],
};

for (const [label, [change, expectedSource]] of Object.entries(CHANGES)) {
  Deno.test(`move: a file that ${label} during the copy is not removed`, async () => {
    for (const [name, text] of Object.entries(SIZES)) {
      let path = "";
      await using trees = await makeOutbox({ x: text }, {}, async (request, respond) => {
        if (!isWrite(request)) return null;
        const answered = await respond();
        change(path);
        return answered;
      });
      path = `${trees.source}/x`;
      const { result } = await trees.copy(MOVE);
      // A file with the same size and time may be the copy itself, if the server serves the source.
      const failedCount = label.includes("of the same size and time") ? 1 : 0;
      // A removed file can't fail, and counts as moved.
      const files = label === "is removed" ? 1 : 0;
      const { removed, skipped } = result;
      assertEquals([result.files, removed, result.failed], [files, 0, failedCount], name);
      assertEquals(skipped, 1 - failedCount - files, name);
      assertEquals(await readTree(trees.source), expectedSource(text), name);
      assertEquals(await readTree(trees.target), { x: text }, name);
    }
  });
}

Deno.test("move: a file that changed just before it was read stays, because another change in that second can't be detected", async () => {
  for (const [name, text] of Object.entries(SIZES)) {
    const otherText = text.toUpperCase();
    let path = "";
    await using trees = await makeTrees(
      "upload",
      { x: text },
      {},
      changeResponses(async (request, respond) => {
        if (!isWrite(request)) return null;
        const answered = await respond();
        const { mtime } = Deno.statSync(path);
        Deno.writeTextFileSync(path, otherText);
        Deno.utimeSync(path, mtime!, mtime!);
        return answered;
      }),
    );
    path = `${trees.source}/x`;
    const { result, outcomes } = await trees.copy({ ...MOVE, settled: 0 });
    assertEquals(outcomes, { x: "skipped: still being written" }, name);
    assertEquals([result.files, result.removed, result.skipped], [0, 0, 1], name);
    assertEquals(await readTree(trees.source), { x: otherText }, name);
    assertEquals(await readTree(trees.target), { x: text }, name);
    using _clock = setClockAhead(LATER);
    path = `${trees.source}/none`;
    await using serving = serve(new FilesApp(trees.target, { list: true, write: true }));
    await uploadTree(serving.makeClient(), trees.source, [], MOVE);
    assertEquals([await readTree(trees.source), await readTree(trees.target)], [{}, {
      x: otherText,
    }]);
  }
});

Deno.test("move: a file that was written or renamed within 3 seconds, or the seconds of `settled`, is skipped", async () => {
  await using trees = await makeTrees("upload", { written: "1", first: "2" });
  const hourAgo = new Date(Date.now() - 3_600_000);
  await Deno.utime(`${trees.source}/first`, hourAgo, hourAgo);
  await Deno.rename(`${trees.source}/first`, `${trees.source}/renamed`);
  const skipped = "skipped: still being written";
  for (const settled of [undefined, 60]) {
    using _clock = setClockAhead(settled === undefined ? 0 : LATER);
    const { outcomes, result } = await trees.copy({ ...MOVE, settled });
    assertEquals(outcomes, { written: skipped, renamed: skipped });
    assertEquals(result.skipped, 2);
  }
  assertEquals(await readTree(trees.source), { written: "1", renamed: "2" });
  assertEquals(await readTree(trees.target), {});
  using _clock = setClockAhead(LATER);
  assertEquals((await trees.copy(MOVE)).result.removed, 2);
});

Deno.test("move: settled is a number of seconds, to the millisecond", async () => {
  for (const text of Object.values(SIZES)) {
    await using trees = await makeTrees("upload", { x: text });
    const changedAt = (await Deno.stat(`${trees.source}/x`)).mtime!.getTime();
    for (const [seconds, removed] of [[59.999, 0], [60, 1]] as const) {
      using _clock = patch(Date, "now", () => () => changedAt + seconds * 1000);
      assertEquals((await trees.copy({ ...MOVE, settled: 60 })).result.removed, removed);
    }
  }
});

Deno.test("move: with settled below 2, a file that was changed less than two seconds ago is copied, and stays", async () => {
  for (const text of Object.values(SIZES)) {
    for (const settled of [0, 1]) {
      await using trees = await makeTrees("upload", { x: text });
      const changedAt = (await Deno.stat(`${trees.source}/x`)).ctime!.getTime();
      for (const [seconds, removed] of [[1.999, 0], [2, 1]] as const) {
        using _clock = patch(Date, "now", () => () => changedAt + seconds * 1000);
        const { result } = await trees.copy({ ...MOVE, settled });
        assertEquals([result.removed, await readTree(trees.target)], [removed, { x: text }]);
      }
    }
  }
});

Deno.test("move: a file that was just written on a disk whose clock is ahead is skipped", async () => {
  await using trees = await makeTrees("upload", { x: "1" });
  using _clock = setClockAhead(-1000);
  assertEquals((await trees.copy(MOVE)).outcomes, { x: "skipped: still being written" });
});

Deno.test("move: a file that is written after it was listed is copied, and stays", async () => {
  const writtenFiles = { x: "1", large: LARGE };
  let clock = setClockAhead(120_000);
  let isListed = false;
  await using trees = await makeTrees(
    "upload",
    { ...writtenFiles, old: "2", d: null },
    {},
    changeResponses(({ query }) => {
      // The first bundle creates directories.
      if (query === "bundle=put" && !isListed) {
        isListed = true;
        for (const name of Object.keys(writtenFiles)) {
          Deno.writeTextFileSync(`${trees.source}/${name}`, "more", { append: true });
        }
        clock[Symbol.dispose]();
        clock = setClockAhead(40_000);
      }
      return null;
    }),
  );
  using _end = { [Symbol.dispose]: () => clock[Symbol.dispose]() };
  const { result } = await trees.copy({ ...MOVE, settled: 60 });
  assertEquals([result.files, result.skipped, result.removed], [0, 3, 0]);
  const expectedTree = { x: "1more", large: LARGE + "more", old: "2", d: null };
  assertEquals(await readTree(trees.source), expectedTree);
});

Deno.test("move: a file with times in the future, from a wrong clock, is removed", async () => {
  await using trees = await makeTrees("upload", { x: "1", large: LARGE });
  {
    using _clock = setClockAhead(-3_600_000);
    assertEquals((await trees.copy(MOVE)).result.removed, 2);
  }
  assertEquals(await readTree(trees.source), {});
  await Deno.writeTextFile(`${trees.source}/x`, "1");
  const { ctime } = await Deno.stat(`${trees.source}/x`);
  // A file with the current time may have changed at this moment.
  for (const [ahead, removed] of [[0, 0], [1, 1]] as const) {
    using _clock = patch(Date, "now", () => () => ctime!.getTime() - ahead);
    assertEquals((await trees.copy({ ...MOVE, settled: 0 })).result.removed, removed, `${ahead}`);
  }
});

/** The files at the target before the move, and the outcome by the options. */
const BEFORE: readonly [
  label: string,
  targetText: string,
  options: UploadTreeOptions,
  outcome: string,
][] = [
  ["the same content", "12345", {}, "copied"],
  ["other content of the same size and time", "54321", {}, "copied"],
  ["the same content, with replace: false", "12345", { replace: false }, "copied"],
  [
    "other content of the same size and time, with replace: false",
    "54321",
    { replace: false },
    "failed",
  ],
  ["other content of another size, with replace: false", "1", { replace: false }, "failed"],
];

for (const [label, targetText, options, outcome] of BEFORE) {
  Deno.test(`move: the target has ${label}`, async () => {
    for (const suffix of ["", LARGE]) {
      const [sourceTree, targetTree] = [{ x: "12345" + suffix, e: "" }, {
        x: targetText + suffix,
        e: "",
      }];
      await using trees = await makeOutbox(sourceTree, targetTree);
      for (const dir of [trees.source, trees.target]) await Deno.utime(`${dir}/x`, 1, 1);
      const { outcomes, errors, result } = await trees.copy({ ...MOVE, ...options });
      assertEquals(outcomes, { x: outcome, e: "copied" }, Deno.inspect(errors));
      const isMoved = outcome === "copied";
      assertEquals(await readTree(trees.source), isMoved ? {} : { x: sourceTree.x });
      assertEquals(await readTree(trees.target), isMoved ? sourceTree : targetTree);
      // An identical file is only compared. Its inode differs from the source's.
      const isSent = targetText !== "12345";
      if (isMoved) assertEquals(result.bytes, isSent ? sourceTree.x.length : 0);
      else assertEquals((errors.x as TransferError).code, "EXISTS");
    }
  });
}

for (const moment of ["requested again", "written again"]) {
  Deno.test(`move: with replace: false an identical file stays if the target's file is replaced before it is ${moment}`, async () => {
    for (const text of Object.values(SIZES)) {
      const theirs = "t".repeat(text.length);
      let path = "";
      // The first attempt finds that the name is taken. A large file causes two HEAD requests: for
      // its part, and for the comparison.
      let countdown = moment === "written again" ? 1 : text === LARGE ? 2 : 0;
      await using trees = await makeOutbox({ x: text }, { x: text }, (request) => {
        const counts = moment === "written again" ? isWrite(request) : request.method === "HEAD";
        if (counts && countdown-- === 0) Deno.writeTextFileSync(path, theirs);
        return null;
      });
      path = `${trees.target}/x`;
      await Deno.utime(path, 1, 1);
      const { outcomes } = await trees.copy({ ...MOVE, replace: false });
      assertEquals(outcomes, { x: "failed" });
      assert(countdown < 0, "it was not replaced");
      const sourceAndTarget = [await readTree(trees.source), await readTree(trees.target)];
      assertEquals(sourceAndTarget, [{ x: text }, { x: theirs }]);
    }
  });
}

Deno.test("move: with replace: false an identical file stays if the target's was just written, because another change can't be detected", async () => {
  for (const text of Object.values(SIZES)) {
    await using trees = await makeOutbox({ x: text }, { x: text }, async ({ method }, respond) => {
      if (method !== "HEAD") return null;
      const [status, reason, { etag: _etag, ...headers }, body] = await respond();
      return [status, reason, headers, body];
    });
    const { errors } = await trees.copy({ ...MOVE, replace: false });
    assertEquals((errors.x as TransferError).code, "EXISTS");
    assertEquals(await readTree(trees.source), { x: text });
  }
});

Deno.test("move: a file whose response is lost is at both ends, and the next call removes it", async () => {
  for (const [name, text] of Object.entries(SIZES)) {
    let isLost = false;
    await using trees = await makeOutbox({ x: text }, {}, async (request, respond) => {
      if (isLost || !isWrite(request)) return null;
      isLost = true;
      await respond();
      trees.serving.server.close();
      throw new Error("the answer is lost");
    });
    await assertRejects(() => trees.copy(MOVE));
    assertEquals(await readTree(trees.source), { x: text }, name);
    assertEquals(await readTree(trees.target), { x: text }, name);
    await using serving = serve(new FilesApp(trees.target, { list: true, write: true }));
    const { removed } = await uploadTree(serving.makeClient(), trees.source, [], MOVE);
    assertEquals([removed, await readTree(trees.source), await readTree(trees.target)], [1, {}, {
      x: text,
    }]);
  }
});

Deno.test("move: a file whose response is lost is removed by the same call, also if the server only adds files", async () => {
  for (const write of [true, "add"] as const) {
    for (const [name, text] of Object.entries(SIZES)) {
      await using trees = await makeOutbox({ x: text });
      const app = new FilesApp(trees.target, { list: true, write });
      let losses = 1;
      const loseResponses = changeResponses(async (request, respond) => {
        if (!isWrite(request) || losses-- <= 0) return null;
        await respond();
        throw new Error("the answer is lost");
      });
      await using serving = serve(loseResponses(app));
      const client = serving.makeClient();
      const { outcomes, removedPaths } = await copyTree(
        "upload",
        client,
        trees.source,
        "/",
        MOVE,
      );
      assertEquals([outcomes, removedPaths], [{ x: "copied" }, ["x"]], `${write}, ${name}`);
      assertEquals([await readTree(trees.source), await readTree(trees.target)], [{}, { x: text }]);
    }
  }
});

for (const options of [{ write: "add" }, { write: true, replace: false }] as const) {
  const { write, ...allOptions } = { ...MOVE, settled: 0, ...options };
  Deno.test(`move: a file that the target has just written is compared again after two seconds, without replacing it: ${write}`, async () => {
    await using trees = await makeTrees("upload", { x: "1" });
    await using serving = serve(new FilesApp(trees.target, { list: true, write }));
    const client = serving.makeClient();
    const copy = () => copyTree("upload", client, trees.source, "/", allOptions);
    assertEquals((await copy()).outcomes, { x: "skipped: still being written" });
    let clock: Disposable | null = null;
    // Make the pause of two seconds end at once.
    using _pauses = speedUpTimeouts((ms) => {
      if (ms === 2000) clock ??= setClockAhead(LATER);
      return ms === 2000;
    }, 1000);
    using _end = { [Symbol.dispose]: () => clock?.[Symbol.dispose]() };
    const { outcomes, errors } = await copy();
    assertEquals(outcomes, { x: "skipped: still being written" }, Deno.inspect(errors));
    assert(clock !== null);
  });
}

Deno.test("move: an add-only app keeps its files, and only identical files are removed from the source", async () => {
  for (const text of Object.values(SIZES)) {
    const otherText = text.replace(/./, "o");
    await using trees = await makeOutbox({ x: text, y: text }, { x: text, y: otherText });
    // The time in the etag is negative before 1970.
    for (const dir of [trees.source, trees.target]) await Deno.utime(`${dir}/x`, -1, -1);
    await using serving = serve(new FilesApp(trees.target, { list: true, write: "add" }));
    const client = serving.makeClient();
    const { outcomes } = await copyTree("upload", client, trees.source, "/", MOVE);
    assertEquals(outcomes, { x: "copied", y: "failed" });
    assertEquals(await readTree(trees.source), { y: text });
    assertEquals(await readTree(trees.target), { x: text, y: otherText });
  }
});

Deno.test("move: an add-only app that serves the source itself causes no file to be moved", async () => {
  const files = { x: "1", large: LARGE };
  await using trees = await makeOutbox(files);
  for (let call = 0; call < 2; call++) {
    await using serving = serve(new FilesApp(trees.source, { list: true, write: "add" }));
    const client = serving.makeClient();
    const { removedPaths } = await copyTree(
      "upload",
      client,
      trees.source,
      "/",
      MOVE,
    );
    assertEquals([removedPaths, await readTree(trees.source)], [[], files]);
  }
});

Deno.test("move: files that are copied before the server's disk is full are removed from the source, and reported", async () => {
  const bundleOf = (...statuses: number[]) => {
    const lines = statuses.map((status) => `${JSON.stringify({ status })}\n`);
    return new TextEncoder().encode(lines.join("") + BUNDLE_END);
  };
  // The refused file is sent once more.
  const bundles = [bundleOf(201, 201, 507), bundleOf(507)];
  const files = { a: "1", b: "2", c: "3" };
  await using trees = await makeOutbox(files, {}, async ({ query }, respond) => {
    if (query !== "bundle=put") return null;
    await respond();
    const bytes = bundles.shift()!;
    return [200, "OK", { "content-type": BUNDLE_TYPE }, new BodyIter([bytes], bytes.length)];
  });
  const events: string[] = [];
  const onEvent = (event: TreeEvent) => {
    if ("path" in event) events.push(`${event.type} ${event.path}`);
  };
  const moving = uploadTree(trees.client, trees.source, "/tree/", { ...MOVE, onEvent });
  const { code, cause } = await assertRejects(() => moving, TransferError);
  assertEquals([code, (cause as TransferError).code], ["INCOMPLETE", "DISK_FULL"]);
  const copiedEvents = ["copied a", "removed a", "copied b", "removed b"];
  assertEquals([events, bundles.length], [[...copiedEvents, "failed c"], 0]);
  assertEquals(await readTree(trees.source), { c: "3" });
});

Deno.test("move: no file is removed after the signal is aborted", async () => {
  const texts = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`${i}`, `text ${i}`]));
  await using trees = await makeOutbox(texts);
  const controller = new AbortController();
  using _clock = speedUpClock();
  const onEvent = (event: TreeEvent) => {
    if (event.type === "progress" && event.bytes > 0) controller.abort(new Error("enough"));
  };
  const { signal } = controller;
  await assertRejects(() => trees.copy({ ...MOVE, signal, onEvent }), Error, "enough");
  assertEquals([await readTree(trees.source), await readTree(trees.target)], [texts, texts]);
});

Deno.test("move: a dry run reports the files that would be removed, and keeps them", async () => {
  await using trees = await makeOutbox({ a: "1", large: LARGE });
  const { result, outcomes, removedPaths } = await trees.copy({
    ...MOVE,
    dryRun: true,
  });
  assertEquals(outcomes, { a: "copied", large: "copied" });
  assertEquals([result.removed, removedPaths.toSorted()], [2, ["a", "large"]]);
  assertEquals(await readTree(trees.source), { a: "1", large: LARGE });
  assertEquals(await readTree(trees.target), {});
});

/** Servers of the source itself: the served directory, and the URI of the source at the server. */
const OVERLAPS: readonly [label: string, served: string, uri: readonly string[]][] = [
  ["serves the source", "in/out", []],
  ["serves a directory that the source is in", "in", ["out"]],
  ["serves the source by a link", "link", []],
];
const OVERLAPPING = { x: "1", empty: "", "d/large": LARGE };

for (const [label, served, uri] of OVERLAPS) {
  Deno.test(`move: no file is lost if the server ${label}`, async () => {
    for (const options of [{}, { replace: false }]) {
      await using dir = await createTempDir();
      await fill(`${dir.path}/in/out`, OVERLAPPING);
      if (HAS_LINKS) await makeLinks({ [`${dir.path}/link`]: "in/out" });
      await using serving = serve(
        new FilesApp(`${dir.path}/${served}`, { list: true, write: true }),
      );
      const client = serving.makeClient();
      const source = `${dir.path}/in/out`;
      for (let pass = 0; pass < 2; pass++) {
        using _clock = setClockAhead(LATER * (pass + 1));
        const { result } = await copyTree(
          "upload",
          client,
          source,
          `/${uri.map((name) => `${name}/`).join("")}`,
          { ...MOVE, ...options },
        );
        assertEquals([result.files, result.removed, result.failed], [0, 0, 3]);
        assertEquals(await readTree(source), { ...OVERLAPPING, d: null });
      }
    }
  });
}

Deno.test("move: no file is lost if files of both ends are hard links to the same inode", async () => {
  const texts = { x: "1", large: LARGE };
  await using trees = await makeOutbox(texts);
  for (const name of Object.keys(texts)) {
    await Deno.link(`${trees.source}/${name}`, `${trees.target}/${name}`);
  }
  await trees.copy(MOVE);
  assertEquals(await readTree(trees.target), texts);
});

Deno.test({
  name: "move: no file is lost if the target is a bind mount of the source (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await createTempDir();
    await fill(`${dir.path}/source`, OVERLAPPING);
    await fill(dir.path, { target: null });
    const through = [
      ...IN_MOUNT_NAMESPACE,
      'mount --bind "$0/source" "$0/target" && exec "$@"',
      dir.path,
    ];
    const job = { dir: dir.path, direction: "upload", options: MOVE, isSettled: true } as const;
    for (const { result } of await copyInProcess(through, [job])) {
      assertEquals([result.files, result.removed, result.failed], [0, 0, 3]);
    }
    assertEquals(await readTree(`${dir.path}/source`), { ...OVERLAPPING, d: null });
  },
});

Deno.test({
  name: "move: a source file that can't be removed fails, and the others are moved (needs unshare)",
  ignore: !await canRun(...AS_USER),
  async fn() {
    await using dir = await createTempDir();
    const keptFiles = { "d/kept": "1", "d/large": LARGE };
    await fill(`${dir.path}/source`, { ...keptFiles, moved: "2" });
    await fill(`${dir.path}/target`, { "d/x": "3" });
    await Deno.chmod(`${dir.path}/source/d`, 0o555);
    const job = { dir: dir.path, direction: "upload", options: MOVE, isSettled: true } as const;
    const [copied] = await copyInProcess(AS_USER, [job]);
    await Deno.chmod(`${dir.path}/source/d`, 0o755);
    const { result, outcomes } = copied!;
    const failedOutcomes = Object.keys(keptFiles).map((path) => [path, "failed"]);
    assertEquals(outcomes, { ...Object.fromEntries(failedOutcomes), moved: "copied" });
    assertEquals([result.files, result.removed, result.failed], [1, 1, 2]);
    const { moved: _moved, ...remaining } = await readTree(`${dir.path}/source`);
    assertEquals(remaining, { d: null, ...keptFiles });
    assertEquals(await readTree(`${dir.path}/target`), { d: null, "d/x": "3", moved: "2" });
  },
});

Deno.test("move: without the permission to write to the source the whole call rejects, and no file is removed", async () => {
  await using trees = await makeTrees("upload", { a: "1", large: LARGE });
  const [, port] = trees.serving.address;
  await using running = new RunningProcess(
    makeProgramCommand("transfer.ts", {
      flags: ["--allow-net=127.0.0.1", `--allow-read=${trees.source}`],
      args: ["moveTree", `${port}`, trees.source, "/tree/"],
    }).spawn(),
  );
  const { success, stderr } = await running.waitForEnd();
  assert(!success && stderr.includes("NotCapable"), stderr);
  assertEquals(await readTree(trees.source), { a: "1", large: LARGE });
});

Deno.test({
  name:
    "move: a file that the target has by another name is replaced only by the same content (needs unshare, FUSE and python3-fusepy)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await createTempDir();
    const through = [
      ...IN_MOUNT_NAMESPACE,
      await makeOddDiskScript(dir.path, "fold /dev/null"),
      dir.path,
    ];
    const [first, second] = [
      {
        other: "first",
        same: "same",
        "d/x": "first",
        "other large": LARGE + "1",
        "same large": LARGE,
      },
      { Other: "2nd", Same: "same", "D/x": "2nd", "Other large": LARGE + "2", "Same large": LARGE },
    ];
    await fill(`${dir.path}/1/source`, { ...first, Twin: "one", twin: "two" });
    await fill(`${dir.path}/2/source`, second);
    for (const name of ["1", "2"]) await makeLinks({ [`${dir.path}/${name}/target`]: "../disk" });
    const jobs = ["1", "2"].map((name) => {
      return {
        dir: `${dir.path}/${name}`,
        direction: "upload",
        options: MOVE,
        isSettled: true,
      } as const;
    });
    const [stripped, folded] = await copyInProcess(through, jobs);
    assertEquals(
      [stripped!.result.removed, stripped!.outcomes.twin],
      [6, "failed"],
      Deno.inspect(stripped),
    );
    const expectedTree = { D: null, "D/x": "2nd", Other: "2nd", "Other large": LARGE + "2" };
    assertEquals(await readTree(`${dir.path}/2/source`), expectedTree, Deno.inspect(folded));
    assertEquals([folded!.result.removed, folded!.result.failed], [2, 3]);
    const { mounted: _mounted, ...backingTree } = await readTree(`${dir.path}/backing`);
    const expected = [null, "one", ...Object.values(first)];
    assertEquals(Object.values(backingTree).toSorted(), expected.toSorted());
  },
});

for (const before of [undefined, "old"]) {
  const targetState = before === undefined ? "no file" : "another version";
  for (const hasList of [true, false]) {
    const suffix = hasList ? "" : ", without a list";
    const app = (trees: { target: string }) =>
      new FilesApp(trees.target, { list: hasList, write: true });

    Deno.test(`move: if the target had ${targetState}, a file that appears during the first request is not replaced${suffix}`, async () => {
      for (const text of Object.values(SIZES)) {
        const theirs = text.replace(/./, "t");
        await using trees = await makeOutbox(
          { x: text },
          before === undefined ? {} : { x: before },
        );
        let isWritten = false;
        const write = changeResponses((request) => {
          if (!isWritten && isWrite(request)) Deno.writeTextFileSync(`${trees.target}/x`, theirs);
          isWritten ||= isWrite(request);
          return null;
        });
        await using serving = serve(write(app(trees)));
        const client = serving.makeClient();
        const { errors } = await copyTree("upload", client, trees.source, "/", MOVE);
        assertEquals((errors.x as TransferError).code, "TARGET_CHANGED");
        assertStringIncludes(`${errors.x}`, "changed during the call");
        const sourceAndTarget = [await readTree(trees.source), await readTree(trees.target)];
        assertEquals(sourceAndTarget, [{ x: text }, { x: theirs }]);
        // The next call replaces the file, which it has seen.
        assertEquals((await uploadTree(client, trees.source, "/", MOVE)).removed, 1);
        const treesAfter = [await readTree(trees.source), await readTree(trees.target)];
        assertEquals(treesAfter, [{}, { x: text }]);
      }
    });

    for (const isWritten of [true, false]) {
      const lostMessage = isWritten ? "response" : "request";
      Deno.test(`move: if the target had ${targetState}, a retry doesn't replace a file that appears after the first ${lostMessage} was lost${suffix}`, async () => {
        for (const text of Object.values(SIZES)) {
          const theirs = text.replace(/./, "t");
          await using trees = await makeOutbox(
            { x: text },
            before === undefined ? {} : { x: before },
          );
          let isCut = false, isRetried = false;
          using _pauses = speedUpTimeouts((ms) => {
            // The server also has a timer of one second.
            const isPause = isCut && ms === 1000;
            if (isPause) Deno.writeTextFileSync(`${trees.target}/x`, theirs);
            isRetried ||= isPause;
            return isPause;
          }, 1000);
          const cutConnections = changeResponses(async (request, respond) => {
            if (!isWrite(request) || isRetried) return null;
            if (isWritten) await respond();
            isCut = true;
            throw new Error("lost");
          });
          await using serving = serve(cutConnections(app(trees)));
          const client = serving.makeClient();
          const options = { ...MOVE, retries: 2 };
          const { errors } = await copyTree("upload", client, trees.source, "/", options);
          assertEquals([(errors.x as TransferError)?.code, isRetried], ["TARGET_CHANGED", true]);
          const sourceAndTarget = [await readTree(trees.source), await readTree(trees.target)];
          assertEquals(sourceAndTarget, [{ x: text }, { x: theirs }]);
        }
      });
    }
  }
}

Deno.test("move: a server that doesn't list its directory replaces files of the same names", async () => {
  for (const text of Object.values(SIZES)) {
    const files = { new: text, taken: text, same: text, "d/taken": text };
    // The server sends this file instead of a list.
    const index = { "d/index.html": "a page" };
    const targetBefore = { taken: "3", same: text, "d/taken": LARGE, ...index };
    await using trees = await makeOutbox(files, targetBefore);
    await using serving = serve(new FilesApp(trees.target, { write: true }));
    const client = serving.makeClient();
    const { outcomes, result } = await copyTree("upload", client, trees.source, "/", MOVE);
    const copied = Object.keys(files).map((path) => [path, "copied"]);
    assertEquals([outcomes, result.removed], [Object.fromEntries(copied), 4]);
    assertEquals(await readTree(trees.source), { d: null });
    assertEquals(await readTree(trees.target), { ...files, ...index, d: null });
  }
});

Deno.test("move: a file whose response is lost is removed by the same call, also without a list", async () => {
  for (const text of Object.values(SIZES)) {
    await using trees = await makeOutbox({ x: text });
    let losses = 1;
    const loseResponses = changeResponses(async (request, respond) => {
      if (!isWrite(request) || losses-- <= 0) return null;
      await respond();
      throw new Error("the answer is lost");
    });
    await using serving = serve(loseResponses(new FilesApp(trees.target, { write: true })));
    const client = serving.makeClient();
    const { outcomes, removedPaths } = await copyTree(
      "upload",
      client,
      trees.source,
      "/",
      MOVE,
    );
    assertEquals([outcomes, removedPaths], [{ x: "copied" }, ["x"]]);
    assertEquals([await readTree(trees.source), await readTree(trees.target)], [{}, { x: text }]);
  }
});

Deno.test("move: only target directories with a name conflict are listed", async () => {
  const listRequests: string[] = [];
  const targetBefore = { x: "old", "d/y": "y" };
  await using trees = await makeOutbox(
    { x: "new", "d/z": "z" },
    targetBefore,
    ({ method, uri, query }) => {
      if (method === "GET") listRequests.push(`${uri}?${query}`);
      return null;
    },
  );
  const { result } = await trees.copy(MOVE);
  assertEquals([result.removed, listRequests], [2, ["/tree/?null", "/tree/?null"]]);
  assertEquals(await readTree(trees.target), { x: "new", d: null, "d/y": "y", "d/z": "z" });
});

Deno.test("move: a large file whose name is free causes no request for a list or a digest", async () => {
  const requests: string[] = [];
  await using trees = await makeOutbox({ large: LARGE }, {}, ({ method, headers }) => {
    requests.push(`${method} ${headers["want-repr-digest"] ?? ""}`.trim());
    return null;
  });
  assertEquals((await trees.copy(MOVE)).result.removed, 1);
  assertEquals(requests, ["PUT", "POST", "HEAD", "PUT"]);
});

Deno.test("move: an error of onEvent rejects the call, and unreported files stay", async () => {
  await using trees = await makeOutbox({ a: LARGE, b: LARGE, c: "1" });
  const thrown = new Error("enough");
  const onEvent = ({ type }: TreeEvent) => {
    if (type === "plan") throw thrown;
  };
  assertEquals(await assertRejects(() => trees.copy({ ...MOVE, onEvent })), thrown);
  assertEquals(await readTree(trees.source), { a: LARGE, b: LARGE, c: "1" });
});

Deno.test("move: contradicting options cause a RangeError, and downloadTree has no such option", async () => {
  await using trees = await makeOutbox({ x: "1" }, { y: "2" });
  const rows: [UploadTreeOptions, string][] = [
    [{ delete: true }, "delete: with move: true it can't be set"],
    [{ compare: "time" }, "compare: with move: true it can't be set"],
    [{ compare: "digest" }, "compare: with move: true it can't be set"],
  ];
  for (const [options, message] of rows) {
    const invalidOptions = { ...MOVE, ...options } as UploadTreeOptions;
    await assertRejects(() => trees.copy(invalidOptions), RangeError, message);
  }
  // deno-lint-ignore no-explicit-any
  const wrong: any = { move: "yes" };
  await assertRejects(() => trees.copy(wrong), TypeError, "move");
  const download = () => downloadTree(trees.client, "/tree/", trees.source, MOVE);
  await assertRejects(download, TypeError, "move");
  assertEquals([await readTree(trees.source), await readTree(trees.target)], [{ x: "1" }, {
    y: "2",
  }]);
  assertEquals((await trees.copy({ move: false })).result.removed, 0);
  assertEquals(await readTree(trees.source), { x: "1" });
});
