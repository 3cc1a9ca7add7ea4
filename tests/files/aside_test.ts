/** What gives way to something of another kind is put aside, and whatever happens it is not lost. */

import { Client } from "@degu/degu/client";
import { download, FilesApp, listTree, TransferError, uploadTree } from "@degu/degu/files";
import type { Method } from "@degu/degu/base";
import { Turns } from "@degu/internal/disk/files.ts";
import { Temporary } from "@degu/internal/disk/temporary.ts";
import { digestTree } from "@degu/internal/files/entries.ts";
import { readTree } from "@degu/internal/files/listing.ts";
import { replaceDirectory } from "@degu/internal/files/replace_directory.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { ASIDE, unusedPath } from "@degu/internal/files/reserved.ts";
import { NOTHING, Root } from "@degu/internal/files/root.ts";
import { bundleBytes } from "@degu/testing/bundles.ts";
import { content, entries, fill, tempDir } from "@degu/testing/directories.ts";
import { programCommand } from "@degu/testing/programs.ts";
import { inLanes, RunningProcess } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { both, copyTree, DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { serveForWriting, statusOf } from "@degu/testing/written_directory.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

type Tree = Record<string, string | null>;

/** What gives way at the target to what the source has. */
const ROWS: readonly [what: string, target: Tree, source: Tree][] = [
  ["a directory to a file", { "a/x": "1", "a/y/z": "22", "a/empty": null }, { a: "new" }],
  ["a file to a directory with a file", { a: "old" }, { "a/b/c": "new" }],
  ["a file to an empty directory", { a: "old" }, { a: null }],
];
/** The target has one, and the source has none. */
const OTHER = { other: "the same" };

for (const direction of DIRECTIONS) {
  // The last row differs from the others in what the server is asked to do.
  for (const [what, target, source] of direction === "upload" ? ROWS : ROWS.slice(0, 2)) {
    Deno.test(`${direction}: a kill at each step while ${what} gives way loses nothing, and the next call does the rest`, async () => {
      let steps = 0;
      let isOver = false;
      await inLanes(2, 2, async () => {
        while (!isOver) isOver ||= !await killAt(direction, steps++, target, source);
      });
      assert(steps > 4, `${steps} steps`);
    });
  }
}

/** Makes both trees, and kills the process whose tree is written at a step; false if it has none. */
async function killAt(
  direction: TreeDirection,
  step: number,
  target: Tree,
  source: Tree,
): Promise<boolean> {
  await using dir = await tempDir();
  const root = await Deno.realPath(dir.path);
  const [from, to] = [`${root}/from`, `${root}/to`];
  await fill(from, { ...OTHER, ...source });
  await fill(to, { ...OTHER, ...target });
  const before = await content(to);
  const wasStopped = direction === "upload"
    ? await killServer(from, to, step)
    : await killClient(from, to, step);
  // A list shows all of the old one, or all of the new one.
  const app = new FilesApp(to, { list: true, write: true });
  await using serving = serve(app);
  const reading = await tempDir();
  await using _reading = reading;
  await copyTree("download", serving.makeClient(), `${reading.path}/tree`, "/", {});
  const [found, after] = [await content(`${reading.path}/tree`), await content(from)];
  const isOld = JSON.stringify(found) === JSON.stringify(before);
  if (!isOld) assertEquals(found, after, `step ${step}`);
  await using source_ = serve(new FilesApp(from, { list: true }));
  const { result } = direction === "upload"
    ? await copyTree("upload", serving.makeClient(), from, "/", { delete: true })
    : await copyTree("download", source_.makeClient(), to, "/", { delete: true });
  assertEquals([result.failed, result.deletionsKept], [0, null], `step ${step}`);
  assertEquals(await content(to), after, `step ${step}`);
  assertEquals(leftIn(to), [], `step ${step}`);
  return wasStopped;
}

/** What lies aside, or is a part, below a directory. */
function leftIn(dir: string): string[] {
  return [...Deno.readDirSync(dir)].flatMap(({ name, isDirectory }) => [
    ...name.includes(".degu-part") ? [`${dir}/${name}`] : [],
    ...isDirectory ? leftIn(`${dir}/${name}`) : [],
  ]);
}

function killedAt(step: number, dir: string, ...args: readonly unknown[]): RunningProcess {
  const flags = ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`];
  const all = [dir, step, ...args].map(String);
  return new RunningProcess(programCommand("killed_at_step.ts", { flags, args: all }).spawn());
}

/** Uploads to a server until it has stopped, and kills it. */
async function killServer(from: string, to: string, step: number): Promise<boolean> {
  await using running = killedAt(step, to, "serve", 0, to);
  const [, port]: [string, number] = JSON.parse(await running.printed(/.*\n/));
  const client = new Client(["127.0.0.1", port], { timeout: 60 });
  const uploading = uploadTree(client, from, "/", { delete: true }).then(() => false, () => true);
  const stopped = running.printed(/stopped/).then(() => true, () => false);
  const wasStopped = await Promise.race([uploading, stopped]);
  running.kill();
  await running.ended();
  await Promise.all([uploading, stopped]);
  return wasStopped;
}

/** Lets a process download until it has stopped, and kills it. */
async function killClient(from: string, to: string, step: number): Promise<boolean> {
  await using serving = serve(new FilesApp(from, { list: true }));
  await using running = killedAt(step, to, "downloadTree", serving.address[1], to, "/");
  await running.printed(/stopped|done/);
  running.kill();
  const { stdout } = await running.ended();
  return stdout.includes("stopped");
}

/** A directory with a server; something was put aside in it by a call that was killed. */
async function serveKilled(
  options: { readonly isLater?: boolean; readonly isOther?: boolean; readonly now?: Tree } = {},
) {
  const files = await serveForWriting({ list: true });
  await fill(files.root, options.now ?? {});
  const there = await Deno.lstat(`${files.root}/a`).catch(() => null);
  const successor = options.isOther ? files.root : `${files.root}/a`;
  const ino = there === null ? 0 : (await Deno.lstat(successor)).ino;
  const place = `${files.root}/${ASIDE}/0123456789abcdef-${ino}`;
  await fill(place, { "a/x": "1", "a/y/z": "22" });
  const time = Date.now() - (options.isLater ? 60_000 : 0);
  await Deno.utime(place, new Date(time), new Date(time));
  return { ...files, place };
}

const ASKED: readonly [what: string, method: Method, uri: string, status: number][] = [
  ["a list", "GET", "/", 200],
  ["a list of the tree", "GET", "/?tree", 200],
  ["a PUT of the name", "PUT", "/a", 409],
  ["a PUT below it", "PUT", "/a/new", 201],
  ["a PUT beside it", "PUT", "/other", 201],
  ["a bundle", "POST", "/?bundle=put", 200],
  ["a DELETE of its directory", "DELETE", "/a/", 409],
];

for (const [what, method, uri, status] of ASKED) {
  Deno.test(`${what} puts back what a killed call has put aside`, async () => {
    await using files = await serveKilled();
    const body = method === "PUT"
      ? latin1("new")
      : method === "POST"
      ? bundleBytes([["a", "new"]])
      : null;
    const response = await files.request(method, uri, {}, body);
    assertEquals(await statusOf(response), status);
    assertEquals([await files.read("a/x"), await files.read("a/y/z")], ["1", "22"]);
    assertEquals(leftIn(files.root), []);
  });
}

Deno.test("a list of a tree puts back what a killed call has put aside in any directory of it", async () => {
  await using files = await serveForWriting({ list: true });
  await fill(`${files.root}/sub/${ASIDE}/0123456789abcdef`, { "a/x": "1" });
  const listed = await Array.fromAsync(listTree(files.serving.makeClient(), "/"));
  assert(listed.some(({ path }) => path.join("/") === "sub/a/x"), Deno.inspect(listed));
});

Deno.test("a list removes a directory in which nothing lies aside any more, since a call was killed", async () => {
  await using files = await serveForWriting({ list: true });
  await Deno.mkdir(`${files.root}/${ASIDE}`);
  assertEquals(await statusOf(await files.request("GET", "/")), 200);
  assertEquals(leftIn(files.root), []);
});

Deno.test("a directory in which something lies aside is not deleted before it was put back", async () => {
  await using files = await serveForWriting();
  await fill(`${files.root}/sub/${ASIDE}/0123456789abcdef`, { "a/x": "1" });
  await Deno.remove(`${files.root}/sub/file`);
  assertEquals(await statusOf(await files.request("DELETE", "/sub/")), 409);
  assertEquals(await files.read("sub/a/x"), "1");
  await Deno.remove(`${files.root}/sub/a`, { recursive: true });
  await Deno.mkdir(`${files.root}/sub/${ASIDE}/0123456789abcdef`, { recursive: true });
  assertEquals(await statusOf(await files.request("DELETE", "/sub/")), 204);
});

Deno.test("a single download puts back what a killed call has put aside, and does not take its name", async () => {
  await using dir = await tempDir();
  const here = `${dir.path}/here`;
  await fill(dir.path, { "there/a": "new", [`here/${ASIDE}/0123456789abcdef/a/x`]: "precious" });
  await using serving = serve(new FilesApp(`${dir.path}/there`));
  const downloading = () => download(serving.makeClient(), "/a", `${here}/a`);
  await assertRejects(downloading, Deno.errors.IsADirectory);
  assertEquals(await content(here), { a: null, "a/x": "precious" });
});

Deno.test("what a killed call has put aside is removed where its successor is, unless anything in it is later, or another file or a directory has its name", async () => {
  const rows: [now: Tree, isLater: boolean, isOther: boolean, isKept: boolean][] = [
    [{ a: "new" }, false, false, false],
    [{ a: "new" }, true, false, true],
    [{ a: "new" }, false, true, true],
    [{ "a/other": "new" }, false, false, true],
  ];
  for (const [now, isLater, isOther, isKept] of rows) {
    await using files = await serveKilled({ now, isLater, isOther });
    assertEquals(await statusOf(await files.request("GET", "/?tree")), 200);
    assertEquals(await files.put("/other", latin1("new")), 201);
    const [[path, text]] = Object.entries(now) as [[string, string]];
    assertEquals(await files.read(path), text);
    assertEquals(leftIn(files.root).length > 0, isKept);
    if (isKept) assertEquals(await Deno.readTextFile(`${files.place}/a/y/z`), "22");
  }
});

Deno.test("a file that a killed call has put aside is removed where its directory has a file, put back where that has none, and kept where another directory has its name", async () => {
  const rows: [now: Tree, isOther: boolean, is: "removed" | "put back" | "kept"][] = [
    [{ "a/b/c": "new" }, false, "removed"],
    [{ "a/b": null }, false, "put back"],
    [{ "a/b/c": "another" }, true, "kept"],
    [{ "a/b": null }, true, "kept"],
    [{ a: "another" }, true, "kept"],
  ];
  for (const [now, isOther, is] of rows) {
    await using files = await serveForWriting({ list: true });
    await fill(files.root, now);
    const { ino } = await Deno.lstat(isOther ? files.root : `${files.root}/a`);
    const place = `${ASIDE}/0123456789abcdef-${ino}`;
    await fill(`${files.root}/${place}`, { a: "old" });
    assertEquals(await files.put("/other", latin1("new")), 201);
    const listed = await Array.fromAsync(listTree(files.serving.makeClient(), "/"));
    assertEquals(leftIn(files.root).length > 0, is === "kept");
    const found = await content(files.root);
    if (is === "put back") assertEquals(found["a"], "old");
    else for (const [path, text] of Object.entries(now)) assertEquals(found[path], text);
    const kept = listed.filter(({ kind }) => kind === "other");
    const expected = is === "kept" ? [[`${place}/a`, "name"]] : [];
    assertEquals(kept.map(({ name, reason }) => [name, reason]), expected);
  }
});

both(
  "what stays aside as another thing has its name is never skipped in silence: the source fails, and the target says what it keeps",
  async (direction) => {
    const aside = `${ASIDE}/0123456789abcdef-1/a`;
    const tree = { a: "a file", [`${aside}/x`]: "precious" };
    await using asSource = await makeTrees(direction, tree, { superfluous: "1" });
    const { result, outcomes } = await asSource.copy({ delete: true });
    assertEquals([outcomes[aside], result.deletionsKept], ["failed", "incomplete"]);
    const more = { ...tree, b: "gives way" };
    await using asTarget = await makeTrees(direction, { a: "a file", "b/c": "1" }, more);
    assertEquals((await asTarget.copy({ delete: true })).result.unnameable, [[aside]]);
    assertEquals(await Deno.readTextFile(`${asTarget.target}/b/c`), "1");
    for (const root of [asSource.source, asTarget.target]) {
      assertEquals(await Deno.readTextFile(`${root}/${aside}/x`), "precious");
    }
  },
);

Deno.test("the next PUT of a name removes what a killed call has put aside for it", async () => {
  await using files = await serveKilled({ now: { a: "new" } });
  assertEquals(await files.put("/a", latin1("newer")), 204);
  assertEquals([await files.read("a"), leftIn(files.root)], ["newer", []]);
});

Deno.test("a list that can't put back what lies aside says once that there is something", async () => {
  await using dir = await tempDir();
  for (const place of ["0123456789abcdef", "fedcba9876543210"]) {
    await fill(`${dir.path}/${ASIDE}/${place}`, { "a/x": "1" });
  }
  const flags = [`--allow-read=${dir.path}`, "--allow-net=127.0.0.1"];
  await using running = new RunningProcess(
    programCommand("transfer.ts", { flags, args: ["serve", "0", dir.path, "/"] }).spawn(),
  );
  const [, port]: [string, number] = JSON.parse(await running.printed(/.*\n/));
  const listed = await Array.fromAsync(listTree(new Client(["127.0.0.1", port]), "/"));
  assertEquals(listed.map(({ name, kind, reason }) => [name, kind, reason]), [
    ["a", "other", "unreadable"],
  ]);
});

Deno.test("a list asks nobody for the permission to put something back, or to remove what is empty", async () => {
  await using dir = await tempDir();
  const root = new Root(await Deno.realPath(dir.path));
  const [used, empty] = ["0123456789abcdef", "fedcba9876543210"];
  await fill(root.path, { [`${ASIDE}/${used}/a/x`]: "1", [`${ASIDE}/${empty}`]: null });
  await Deno.mkdir(`${root.path}/sub/${ASIDE}`, { recursive: true });
  const { querySync } = Deno.permissions;
  const { renameSync } = Deno;
  let asked = 0;
  Deno.permissions.querySync = (descriptor) => {
    const status = querySync.call(Deno.permissions, descriptor);
    return descriptor.name === "write" ? Object.create(status, PROMPT) : status;
  };
  Deno.renameSync = () => void asked++;
  try {
    await Array.fromAsync(readTree({ root, path: root.path, turns: new Turns() }));
  } finally {
    Object.assign(Deno, { renameSync });
    Deno.permissions.querySync = querySync;
  }
  assertEquals(asked, 0);
  assertEquals(await entries(`${root.path}/${ASIDE}`), [used, empty]);
  assertEquals(await entries(`${root.path}/sub`), [ASIDE]);
});

/** The state of a permission for which the user would be asked. */
const PROMPT = { state: { value: "prompt" } };

/**
 * Gives a file the name of the directory `a`, which has these entries.
 *
 * @param onFree Called when nothing has the name.
 */
async function replaceA(
  root: Root,
  entries: Parameters<typeof digestTree>[0],
  onFree: () => void = () => {},
) {
  using file = Temporary.create(unusedPath(root.path));
  await file.file.write(latin1("the file"));
  const condition = (existing: unknown) => {
    if (existing === null) onFree();
  };
  const replaceable = { ...NOTHING, directory: digestTree(entries) };
  const confirm = () => Promise.resolve();
  const move = { condition, isNew: false, replaceable };
  return await replaceDirectory(root, ["a"], file, move, confirm);
}

Deno.test("what another process puts into a directory that has just given way is kept, and said", async () => {
  await using dir = await tempDir();
  const root = new Root(await Deno.realPath(dir.path));
  const rows: [path: string, text: string][] = [["new", "precious"], ["x", "longer"], ["x", "2"]];
  for (const [path, text] of rows) {
    await fill(root.path, { "a/x": "1" });
    await Deno.utime(`${root.path}/a/x`, 1, 1);
    const entry = { path: ["x"], kind: "file", size: 1, modified: new Date(1000) } as const;
    let aside = "";
    const { kept, removed } = await replaceA(root, [entry], () => {
      const [{ name } = { name: "" }] = Deno.readDirSync(`${root.path}/${ASIDE}`);
      aside = `${root.path}/${ASIDE}/${name}/a`;
      Deno.writeTextFileSync(`${aside}/${path}`, text);
    });
    assertEquals(kept?.status, 409);
    assertStringIncludes(`${kept}`, aside);
    // In whatever order the disk lists them.
    const isThere = await Deno.lstat(`${aside}/x`).then(() => true, () => false);
    assertEquals(removed, isThere ? [] : [["a", "x"]]);
    assertEquals(await Deno.readTextFile(`${aside}/${path}`), text);
    assertEquals(await Deno.readTextFile(`${root.path}/a`), "the file");
    // A later call does not remove it either, but puts it back when nothing has the name.
    await Array.fromAsync(readTree({ root, path: root.path, turns: new Turns() }));
    assertEquals(await Deno.readTextFile(`${aside}/${path}`), text);
    await Deno.remove(`${root.path}/a`);
    await Array.fromAsync(readTree({ root, path: root.path, turns: new Turns() }));
    assertEquals(await Deno.readTextFile(`${root.path}/a/${path}`), text);
    assertEquals(await entries(root.path), ["a"]);
    await Deno.remove(`${root.path}/a`, { recursive: true });
  }
});

both(
  "a file that another process adds just as its directory gives way is kept, and the file that replaces the directory fails",
  async (direction) => {
    await using trees = await makeTrees(direction, { a: "new" }, { "a/x": "1" });
    const { renameSync } = Deno;
    Deno.renameSync = (from, to) => {
      renameSync(from, to);
      if (`${to}`.includes(ASIDE)) Deno.writeTextFileSync(`${to}/added`, "precious");
    };
    try {
      const { outcomes, errors } = await trees.copy({ delete: true });
      assertEquals(outcomes, { a: "failed" });
      const error = errors["a"];
      assert(error instanceof TransferError);
      if (direction === "upload") assertEquals(error.status, 409);
      else assertStringIncludes(error.message, "is kept");
    } finally {
      Deno.renameSync = renameSync;
    }
    const kept = leftIn(trees.target).filter((path) => path.endsWith(`/${ASIDE}`));
    assertEquals(kept.length, 1);
    assertEquals(await Deno.readTextFile(`${trees.target}/a`), "new");
    const { outcomes } = await trees.copy({ delete: true });
    assertEquals(outcomes, { a: "unchanged" });
    await Deno.remove(`${trees.target}/a`);
    await trees.copy();
    assertEquals(await Deno.readTextFile(`${trees.target}/a/added`), "precious");
  },
);

Deno.test("a directory with a file that was added after it was listed is not put aside", async () => {
  await using dir = await tempDir();
  const root = new Root(await Deno.realPath(dir.path));
  await fill(root.path, { a: null });
  const { mkdirSync } = Deno;
  Deno.mkdirSync = (path, options) => {
    // Whether it may be changed is found out after the list.
    Deno.writeTextFileSync(`${root.path}/a/added`, "precious");
    mkdirSync(path, options);
  };
  try {
    const replacing = replaceA(root, []);
    await assertRejects(() => replacing, Refusal, "is not what the client has seen");
  } finally {
    Deno.mkdirSync = mkdirSync;
  }
  assertEquals(await entries(root.path), ["a"]);
  assertEquals(await entries(`${root.path}/a`), ["added"]);
});

Deno.test("a directory is put back if the file can't get its name, and kept if something else has got it", async () => {
  await using dir = await tempDir();
  const root = new Root(await Deno.realPath(dir.path));
  for (const isTaken of [false, true]) {
    await fill(root.path, { a: null });
    const replacing = replaceA(root, [], () => {
      assertThrows(() => Deno.lstatSync(`${root.path}/a`), Deno.errors.NotFound);
      if (isTaken) Deno.mkdirSync(`${root.path}/a`);
      throw new Error("no");
    });
    await assertRejects(() => replacing, Error, isTaken ? "is kept" : "no");
    assertEquals(await entries(root.path), isTaken ? [ASIDE, "a"] : ["a"]);
  }
});

Deno.test("a file that another process changes just as it gives way to a directory is kept, and said", async () => {
  await using dir = await tempDir();
  const root = new Root(await Deno.realPath(dir.path));
  await fill(root.path, { a: "1" });
  await Deno.utime(`${root.path}/a`, 1, 1);
  const { renameSync } = Deno;
  Deno.renameSync = (from, to) => {
    renameSync(from, to);
    if (`${to}`.includes(ASIDE)) Deno.writeTextFileSync(to, "precious");
  };
  const replaceable = { ...NOTHING, file: { size: 1, modified: new Date(1000) } };
  try {
    const error = assertThrows(() => root.makeDirectory(["a"], { replaceable }), Refusal);
    assertStringIncludes(error.message, "is kept");
  } finally {
    Deno.renameSync = renameSync;
  }
  await Deno.writeTextFile(`${root.path}/a/b`, "new");
  await Array.fromAsync(readTree({ root, path: root.path, turns: new Turns() }));
  assertEquals(await entries(root.path), [ASIDE, "a"]);
  await Deno.remove(`${root.path}/a`, { recursive: true });
  await Array.fromAsync(readTree({ root, path: root.path, turns: new Turns() }));
  assertEquals(await Deno.readTextFile(`${root.path}/a`), "precious");
});

Deno.test("nothing behind a link among the things that lie aside is moved or deleted", async () => {
  const outside = { "a/x": "precious", "new/y": "precious" };
  for (const link of [ASIDE, `${ASIDE}/0123456789abcdef`]) {
    await using files = await serveForWriting({ list: true });
    const behind = `${files.path}/behind`;
    await fill(link === ASIDE ? `${behind}/0123456789abcdef` : behind, outside);
    await fill(files.root, { a: "a file", ...link === ASIDE ? {} : { [ASIDE]: null } });
    await makeLinks({ [`${files.root}/${link}`]: behind });
    const before = await content(behind);
    const listed = await Array.fromAsync(listTree(files.serving.makeClient(), "/"));
    assertEquals(listed.map(({ name }) => name).sort(), ["a", "file", "file", "sub"]);
    assertEquals(await files.put("/other", latin1("new")), 201);
    assertEquals(await content(behind), before);
  }
});

Deno.test("a link in the place of the directory for what gives way is refused", async () => {
  await using files = await serveForWriting({ list: true });
  await using from = await tempDir();
  await fill(files.path, { "behind/x": "1" });
  await fill(from.path, { sub: "a file" });
  await makeLinks({ [`${files.root}/${ASIDE}`]: `${files.path}/behind` });
  const { renameSync } = Deno;
  const renamed: string[] = [];
  Deno.renameSync = (path, to) => {
    renamed.push(`${path}`);
    renameSync(path, to);
  };
  try {
    const client = files.serving.makeClient();
    const { errors } = await copyTree("upload", client, from.path, "/", { delete: true });
    const error = errors["sub"];
    assert(error instanceof TransferError);
    assertEquals(error.status, 403);
  } finally {
    Deno.renameSync = renameSync;
  }
  assertEquals(renamed, []);
  assertEquals(await files.read("sub/file"), "public");
  assertEquals(await entries(`${files.path}/behind`), ["x"]);
});

Deno.test("what can't be put back keeps nobody from writing other files", async () => {
  await using files = await serveKilled();
  const { renameSync } = Deno;
  Deno.renameSync = (from, to) => {
    if (`${from}`.includes(ASIDE)) throw new Deno.errors.PermissionDenied("denied (os error 13)");
    renameSync(from, to);
  };
  try {
    assertEquals(await files.put("/other", latin1("new")), 201);
    const listed = await Array.fromAsync(listTree(files.serving.makeClient(), "/"));
    assertEquals(listed.find(({ name }) => name === "a")?.reason, "unreadable");
  } finally {
    Deno.renameSync = renameSync;
  }
  assertEquals(await Deno.readTextFile(`${files.place}/a/x`), "1");
});

Deno.test("what is no directory beside things that lie aside stays, and hides none of them", async () => {
  await using files = await serveForWriting({ list: true });
  const names = Array.from({ length: 8 }, (_, i) => `${i}`);
  for (const name of names) await fill(`${files.root}/${ASIDE}/${name}`, { [name]: "1" });
  for (const name of names) await fill(`${files.root}/${ASIDE}`, { [`${name}-file`]: "precious" });
  const listed = await Array.fromAsync(listTree(files.serving.makeClient(), "/"));
  const found = listed.map(({ name }) => name).filter((name) => names.includes(name));
  assertEquals(found.sort(), names);
  assertEquals(await entries(`${files.root}/${ASIDE}`), names.map((name) => `${name}-file`));
});

Deno.test({
  name: "in a directory for what gives way that belongs to another user nothing is put",
  // Only root can give a directory away.
  ignore: Deno.uid() !== 0,
  async fn() {
    await using files = await serveForWriting({ list: true });
    await using from = await tempDir();
    await fill(files.root, { [`${ASIDE}/theirs`]: "theirs" });
    await fill(from.path, { sub: "a file" });
    await Deno.chown(`${files.root}/${ASIDE}`, ANOTHER_USER, null);
    const client = files.serving.makeClient();
    const { errors } = await copyTree("upload", client, from.path, "/", { delete: true });
    const error = errors["sub"];
    assert(error instanceof TransferError);
    assertEquals(error.status, 403);
    assertEquals(await files.read("sub/file"), "public");
    assertEquals(await entries(`${files.root}/${ASIDE}`), ["theirs"]);
  },
});

const ANOTHER_USER = 12345;
