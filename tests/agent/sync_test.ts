/** degu sync, and what commands say of trees. */
import { type Address, BodyIter } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { FilesApp } from "@degu/degu/files";
import type { Request, Session } from "@degu/degu/server";
import type { Context } from "@degu/internal/agent/context.ts";
import { Failure, Interrupted } from "@degu/internal/agent/failure.ts";
import { connectionsTo } from "@degu/internal/agent/peer_connections.ts";
import { type Area, RemoteFiles } from "@degu/internal/agent/remote_files.ts";
import { Transfers, type TreeJob } from "@degu/internal/agent/transfers.ts";
import { AgentFiles, objectsOf } from "@degu/testing/agent_files.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { makeFifo, makeLinks, makeNonUtf8Name } from "@degu/testing/special_files.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { content, fill, makeTrees, type TreeDirection, type Trees } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

// degu sync: a directory is made what another one is.

const TREE = { "a": "1", "b/c": "2", "b/日本": "3", "e/f": null, "x": "same size" };

for (const direction of ["to here", "to a peer"] as const) {
  Deno.test(`sync ${direction}: new and changed files are copied, once; --delete removes the rest`, async () => {
    await using files = await AgentFiles.start();
    const isToHere = direction === "to here";
    const source = isToHere ? `${files.share}/top` : `${files.here}/top`;
    const target = isToHere ? `${files.here}/copy` : `${files.inbox}/copy`;
    const both = isToHere
      ? ["camera:top", `${files.here}/copy`]
      : [`${files.here}/top`, "camera:copy"];
    await fill(source, TREE);
    const dry = await files.succeed("sync", "--dry-run", ...both);
    assertStringIncludes(dry.stderr, "4 files would be copied");
    assertEquals((await content(isToHere ? files.here : files.inbox))["copy"], undefined);

    await files.succeed("sync", ...both);
    assertEquals(await content(target), await content(source));
    const second = await files.succeed("sync", "--delete", ...both);
    assertEquals(second.stdout, "");
    assertStringIncludes(second.stderr, "0 files copied, 0 B; 4 up to date");

    await Deno.writeTextFile(`${source}/x`, "SAME SIZE");
    await fill(source, { "new/n": "n" });
    await fill(target, { "old/o/o": "o", "old/p": null, "z": "z" });
    const plain = objectsOf(await files.succeed("sync", "--json", ...both));
    const copied = plain.map(({ to }) => to).filter((to) => to !== undefined);
    const nameOf = (path: string) =>
      isToHere ? `${files.here}/copy/${path}` : `camera:copy/${path}`;
    assertEquals(copied.toSorted(), [nameOf("new/n"), nameOf("x")]);
    assertEquals((await content(target))["z"], "z");

    const before = await content(target);
    const would = await files.succeed("sync", "--dry-run", "--delete", ...both);
    assertStringIncludes(would.stdout, `would delete ${nameOf("old/o/o")}\n`);
    assertStringIncludes(would.stderr, "5 would be deleted");
    assertEquals(await content(target), before);
    await files.succeed("sync", "--delete", ...both);
    assertEquals(await content(target), await content(source));
  });
}

Deno.test("sync --inbox brings back what was synced there", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox, share } = files;
  await fill(`${here}/top`, { "a": "1", "b/c": "2", "d.tmp": "3", ".deguignore": "*.tmp\n" });
  await fill(share, { "top/shared": "1" });
  await files.succeed("sync", `${here}/top`, "camera:top");
  await fill(`${here}/back`, { "b/old": "4", "kept.tmp": "5" });
  await files.succeed("sync", "--inbox", "--delete", "camera:top", `${here}/back`);
  const { "kept.tmp": kept, ...back } = await content(`${here}/back`);
  assertEquals(kept, "5");
  assertEquals(back, await content(`${inbox}/top`));
  await files.succeed("sync", "--inbox", "--delete", `${here}/top`, "camera:top");
  await files.fail(1, "add --inbox to read it there", "sync", "camera:top/b", `${here}/none`);
});

Deno.test("--checksum compares contents, whatever the times", async () => {
  await using files = await AgentFiles.start();
  const { here, share, inbox } = files;
  await fill(share, { "a": "old", "b": "new" });
  await fill(here, { "a": "old", "b": "old" });
  for (const [dir, time] of [[share, 1000], [here, 2000]] as const) {
    await Deno.utime(`${dir}/a`, time, time);
    await Deno.utime(`${dir}/b`, 1000, 1000);
  }
  // The same size and time: only the contents tell.
  assertEquals(
    (await files.succeed("sync", "--dry-run", "camera:", here)).stdout,
    `would copy camera:a to ${here}/a\n`,
  );
  const { stdout } = await files.succeed("sync", "--checksum", "camera:", here);
  assertEquals(stdout, `${here}/b\n`);
  assertEquals(await content(here), { "a": "old", "b": "new" });
  assertEquals((await Deno.stat(`${here}/a`)).mtime, new Date(2_000_000));
  await files.succeed("sync", here, "camera:");
  assertEquals(await content(inbox), await content(here));
  assertEquals((await files.succeed("sync", "--checksum", here, "camera:")).stdout, "");
});

for (const direction of ["to here", "to a peer"] as const) {
  Deno.test(`sync ${direction}: --exclude and .deguignore leave things out, at both ends`, async () => {
    await using files = await AgentFiles.start();
    const isToHere = direction === "to here";
    const source = isToHere ? files.share : `${files.here}/from`;
    const target = isToHere ? `${files.here}/to` : files.inbox;
    const both = isToHere ? ["camera:", target] : [source, "camera:"];
    await fill(source, {
      ".deguignore": "# what is made anew\r\n*.o\n/build/\n!kept.o\n",
      ...{ "a.o": "1", "sub/b.o": "2", "kept.o": "3", "build/c": "4", "sub/build/d": "5" },
      ...{ "..a/x.tmp": "", "..a/b": "6", "A.TMP": "7", "notes": "8" },
    });
    await fill(target, { "old.o": "9", "build/e": "10", "old": "11", "x.tmp": "12" });
    const exclude = ["--exclude", "*.tmp", "--exclude", "notes"];
    const { stderr } = await files.succeed("sync", "--delete", ...exclude, ...both);
    assertStringIncludes(stderr, "5 files copied");
    assertStringIncludes(stderr, "1 deleted");
    const { ".deguignore": lines, ...tree } = await content(target);
    assertStringIncludes(lines!, "*.o");
    assertEquals(tree, {
      ...{
        "..a": null,
        "..a/b": "6",
        "A.TMP": "7",
        "build": null,
        "build/e": "10",
        "kept.o": "3",
        "old.o": "9",
      },
      ...{ "sub": null, "sub/build": null, "sub/build/d": "5", "x.tmp": "12" },
    });
    await Deno.remove(`${source}/.deguignore`);
    await Deno.mkdir(`${source}/.deguignore`);
    await files.fail(1, "can't be read: it has to be a file", "sync", "--delete", ...both);
    assertEquals((await content(target))["old.o"], "9");
  });
}

Deno.test("a file in place of a directory, and the reverse", async () => {
  await using files = await AgentFiles.start();
  const { here, share } = files;
  await fill(share, { "a/b": "1", "c": "2", "d": "3" });
  await fill(here, { "a": "file", "c/deep/e": "directory" });
  const way = "has this name at the target; with --delete it gives way";
  const said = await files.fail(1, `camera:a: a file ${way}`, "sync", "camera:", here);
  assertStringIncludes(said, `camera:c: a directory ${way}`);
  const kept = { "a": "file", "c": null, "c/deep": null, "c/deep/e": "directory", "d": "3" };
  assertEquals(await content(here), kept);
  await files.succeed("sync", "--delete", "camera:", here);
  assertEquals(await content(here), await content(share));
  await files.fail(2, "on another device", "sync", here, share);
  await files.fail(2, "on this device", "sync", "camera:", "camera:");
  await files.fail(1, 'is a file: get it with "degu get"', "sync", "camera:c", here);
  await files.fail(1, '"camera:aa" is not there', "sync", "--delete", "camera:aa", here);
  assertEquals(await content(here), await content(share));
});

// What commands say of the trees that they copy, in this process.

const DIRECTIONS: readonly TreeDirection[] = ["download", "upload"];

/** How a command has ended, and what it has printed. */
interface Told {
  readonly code: number | null;
  readonly error: unknown;
  readonly results: readonly string[];
  readonly objects: readonly Record<string, unknown>[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  readonly errors: readonly string[];
}

/** Copies a tree as a command does; what is in the source is called `from:`, what is in the target `to:`. */
async function tell(
  trees: Trees,
  options: TreeJob["options"] = {},
  {
    json = false,
    retries = 0,
    address = null as Address | null,
    listsUnchanged = false,
    onNote = (_text: string) => {},
    onResult = () => {},
    signal = new AbortController().signal,
  } = {},
): Promise<Told> {
  const isDownload = trees.direction === "download";
  const root = isDownload ? trees.target : trees.source;
  const [here, there] = isDownload ? ["to:", "from:"] : ["from:", "to:"];
  const named = (text: string) =>
    text.replaceAll(new RegExp(`${root}/?`, "g"), here).replaceAll("peer:", there);
  const [results, notes, warnings, errors]: string[][] = [[], [], [], []];
  const objects: Record<string, unknown>[] = [];
  const output = {
    json,
    animate: () => null,
    result: (text: string, object: Record<string, unknown>) => {
      results!.push(named(text));
      objects.push(JSON.parse(named(JSON.stringify(object))));
      onResult();
    },
    note: (text: string) => notes!.push(named(text)),
    warn: (text: string) => warnings!.push(named(text)),
    error: (text: string) => errors!.push(named(text)),
  };
  const context = { home: `${root}/..`, output, signal } as unknown as Context;
  using transfers = await Transfers.begin(context, isDownload ? "get" : "put");
  const note = (text: string) => {
    output.note(text);
    onNote(text);
  };
  const client = address === null ? trees.client : new Client(address);
  using connections = connectionsTo(client, signal, note, retries);
  const files = new RemoteFiles(connections, "peer", "tree" as Area, signal);
  let [code, error]: [number | null, unknown] = [null, null];
  try {
    await transfers.tree(files, { names: [], root, listsUnchanged, options });
    code = transfers.finish();
  } catch (thrown) {
    error = thrown;
  }
  return {
    ...{ code, error, results: results!, objects },
    ...{ notes: notes!, warnings: warnings!, errors: errors! },
  };
}

function both(name: string, fn: (direction: TreeDirection) => Promise<void>): void {
  for (const direction of DIRECTIONS) Deno.test(`${direction}: ${name}`, () => fn(direction));
}

/** Without the time that it took. */
function summary({ notes }: Told): string | undefined {
  return notes.at(-1)?.replace(/ in \d+:\d\d/, "");
}

both("each file is printed once it is copied, and counted", async (direction) => {
  await using trees = await makeTrees(direction, { "a": "1", "sub/b": "22", "empty": null });
  const first = await tell(trees);
  assertEquals([first.code, first.results.toSorted()], [0, ["to:a", "to:sub/b"]]);
  assertEquals(summary(first), "2 files copied, 3 B");
  // As for a single file.
  const sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
  const result = { bytes: 1, total: 1, resumedFrom: 0, sha256 };
  const copied = first.objects.find(({ to }) => to === "to:a");
  assertEquals(copied, { from: "from:a", to: "to:a", ...result });
  const again = await tell(trees, {}, { json: true, listsUnchanged: true });
  assertEquals([again.code, summary(again)], [0, "0 files copied, 0 B; 2 up to date"]);
  assertEquals(again.objects, [
    { from: "from:a", to: "to:a", unchanged: true },
    { from: "from:sub/b", to: "to:sub/b", unchanged: true },
  ]);
  assertEquals((await tell(trees, {}, { json: true })).objects, []);
});

both("links and special files are warnings that name them: 0", async (direction) => {
  await using trees = await makeTrees(direction, { "a": "1", "dir/b": "2" }, { "old": "3" });
  await makeLinks({ [`${trees.source}/dir/link`]: "/nowhere" });
  const hasFifo = await makeFifo(`${trees.source}/fifo`);
  const told = await tell(trees, { delete: true });
  assertEquals(told.warnings.toSorted(), [
    "from:dir/link: skipped: a symbolic link, which is not followed",
    ...(hasFifo ? ["from:fifo: skipped: neither a file nor a directory"] : []),
  ]);
  assertEquals([told.code, told.errors], [0, []]);
  assertEquals(summary(told), `2 files copied, 2 B; 1 deleted; ${hasFifo ? 2 : 1} skipped`);
  assertEquals(told.results.at(-1), "deleted to:old");
});

both("a name that can't be sent is an error, and nothing is deleted: 1", async (direction) => {
  await using trees = await makeTrees(direction, { "a": "1" }, { "old": "3" });
  if (!await makeNonUtf8Name(trees.source)) return;
  const told = await tell(trees, { delete: true });
  assertEquals(told.errors, [
    "from:\ufffd: its name can't be sent: it is not UTF-8, or too long; rename it",
    "1 error: see above; what was copied stays, and running the same command again continues with the rest",
  ]);
  assertEquals(told.warnings, [
    "nothing is deleted, as not everything could be listed: what seems to be missing may be there",
  ]);
  assertEquals(told.code, 1);
  assertEquals(await content(trees.target), { "a": "1", "old": "3" });
});

both(
  "an empty source deletes nothing, which is an error only where there is something",
  async (direction) => {
    await using trees = await makeTrees(direction, {}, { "old": "3" });
    const told = await tell(trees, { delete: true });
    assertEquals(told.code, 1);
    assert(told.errors[0]?.startsWith("from:: it is empty, so nothing is deleted: is its disk"));
    assertEquals(await content(trees.target), { "old": "3" });
    await Deno.remove(`${trees.target}/old`);
    assertEquals((await tell(trees, { delete: true })).code, 0);
  },
);

both(
  "what fails alone is an error that names it, and keeps what would be deleted",
  async (direction) => {
    await using trees = await makeTrees(direction, { "a": "1", "b": "2" }, {
      "a/x": "3",
      "old": "4",
    });
    const told = await tell(trees, { delete: true, replace: false }, { json: true });
    const problem = "a directory has this name at the target; with --delete it gives way, unless " +
      "something in it has to stay; remove or rename one of the two";
    assertEquals(told.errors[0], `from:a: ${problem}`);
    assertEquals(told.objects.at(-1), { from: "from:a", to: "to:a", error: problem });
    assertEquals(told.warnings, [
      "nothing more is deleted, as not everything could be copied",
    ]);
    assertEquals([told.code, summary(told)], [1, "1 file copied, 1 B"]);
  },
);

both("a dry run says what would be done", async (direction) => {
  await using trees = await makeTrees(direction, { "a": "12" }, { "old/b": "3" });
  const before = await content(trees.target);
  const told = await tell(trees, { delete: true, dryRun: true });
  assertEquals(told.results, [
    "would copy from:a to to:a",
    "would delete to:old/b",
    "would delete to:old/",
  ]);
  const object = { from: "from:a", to: "to:a", size: 2, dryRun: true };
  assertEquals(told.objects[0], { action: "copy", ...object });
  assertEquals(told.objects.at(-1), { action: "delete", path: "to:old/", dryRun: true });
  assertEquals([told.code, summary(told)], [0, "1 file would be copied; 2 would be deleted"]);
  assertEquals(await content(trees.target), before);
});

both("an interruption says what to do, and the same command continues", async (direction) => {
  const files = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${i}`, "text"]));
  await using trees = await makeTrees(direction, files);
  const controller = new AbortController();
  const interrupted = new Interrupted();
  const onResult = () => controller.abort(interrupted);
  const told = await tell(trees, {}, { signal: controller.signal, onResult });
  assertEquals(told.error, interrupted);
  assertEquals(told.notes, [
    "what has been copied is kept: run the same command again to continue",
  ]);
  const again = await tell(trees);
  assertEquals([again.error, again.code], [null, 0]);
  assertEquals(await content(trees.target), await content(trees.source));
});

both("a connection that breaks off loses, repeats and hides nothing", async (direction) => {
  const files = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [`${i % 9}/${i}`, `${i}`]),
  );
  await using trees = await makeTrees(direction, files);
  await Deno.writeFile(`${trees.source}/large`, randomBytes(3_000_000));
  await makeLinks({ [`${trees.source}/link`]: "/nowhere" });
  await using relay = new CuttingRelay(trees.serving.address);
  for (const cut of [8_000, 300_000]) {
    relay.cutAfter(cut);
    const { address } = relay;
    const onNote = () => relay.cutAfter(Infinity);
    const told = await tell(trees, {}, { retries: 3, address, onNote });
    assertEquals(told.notes.filter((note) => note.includes("trying again in 1 s")).length, 1);
    assertEquals([told.error, told.code, told.errors], [null, 0, []]);
    assertEquals(
      told.results.toSorted(),
      [...Object.keys(files), "large"].map((path) => `to:${path}`).toSorted(),
    );
    assertEquals(told.warnings, ["from:link: skipped: a symbolic link, which is not followed"]);
    assert(summary(told)?.startsWith("61 files copied, "), summary(told));
    const { link: _, ...copied } = await content(trees.source);
    assertEquals(await content(trees.target), copied);
    await Deno.remove(trees.target, { recursive: true });
    await Deno.mkdir(trees.target);
  }
});

both("a peer that always breaks off at the same place is given up", async (direction) => {
  let sent = 0;
  const wrap = (app: FilesApp) => async (request: Request, session: Session) => {
    if (request.uri.endsWith("?tree")) return await app.handle(request, session);
    if (request.method === "HEAD" && request.headers["upload-length"] !== undefined) {
      return [200, "OK", { "upload-offset": 0 }, null] as const;
    }
    sent++;
    if (request.method === "PUT") await request.body!.read(100_000);
    if (request.method !== "GET") {
      session.close();
      return [204, "No Content", {}, null] as const;
    }
    const body = async function* () {
      yield randomBytes(100_000);
      session.close();
    };
    const headers = { "etag": '"a"', "content-length": 200_000 };
    return [200, "OK", headers, new BodyIter(body(), 200_000)] as const;
  };
  await using trees = await makeTrees(direction, {}, {}, wrap);
  await Deno.writeFile(`${trees.source}/large`, randomBytes(200_000));
  const told = await tell(trees, {}, { retries: 1 });
  const retries = told.notes.filter((note) => note.includes("trying again"));
  assertEquals(retries.length, 1, told.notes.join("\n"));
  assert(told.error instanceof Failure, String(told.error));
  assert(sent >= 2, `${sent}`);
});
