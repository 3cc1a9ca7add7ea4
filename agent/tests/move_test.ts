/** degu put --move and degu sync --move: the removed and the remaining local files. */
import { formatAddress } from "@degu/degu/base";
import { AgentFiles, parseObjects } from "@degu/testing/agent_files.ts";
import { setClockAhead, skipPauses } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { fill, listNames, readTree } from "@degu/testing/directories.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname } from "@degu/internal/files/disk/paths.ts";
import fc from "fast-check";

/** Without this option, files that tests have just written count as being written. */
const AHEAD = 10_000;

Deno.test("put --move removes a named file once it is at the peer, and reports each removal with --json", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  using _clock = setClockAhead(AHEAD);
  await fill(local, { "a": "1", "b": "22", "c": "333", "other": "4" });
  const putArgs = ["put", "--move", `${local}/a`, `${local}/b`];
  const end = await files.runToSuccess(...putArgs, "camera:in/");
  assertEquals(end.stdout.split("\n").toSorted(), ["", "camera:in/a", "camera:in/b"]);
  assertStringIncludes(end.stderr, "2 files copied, 3 B");
  assertStringIncludes(end.stderr, "; 2 removed from this device");
  assertEquals(await readTree(local), { "c": "333", "other": "4" });
  assertEquals(await readTree(`${inbox}/in`), { "a": "1", "b": "22" });
  const jsonEnd = await files.runToSuccess("put", "--json", "--move", `${local}/c`, "camera:");
  const objects = parseObjects(jsonEnd);
  assertEquals(objects.map(({ to, removed }) => to ?? removed), ["camera:c", `${local}/c`]);
  assertEquals(await listNames(local), ["other"]);
});

Deno.test("put --move: a file that can't be moved fails and is kept, and the other files are moved", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(inbox, { "taken": "theirs" });
  {
    using _clock = setClockAhead(AHEAD);
    await fill(local, { "taken": "mine", "free": "2", "d/x": "3" });
    await makeLinks({ [`${local}/link`]: "free" });
    const all = ["taken", "missing", "link", "d", "free"].map((name) => `${local}/${name}`);
    const putArgs = ["put", "--move", ...all, "camera:"];
    const stderr = await files.runToFailure(1, "4 errors: see above", ...putArgs);
    const taken = "taken: another file of this name exists on camera: replace it with --force";
    assertStringIncludes(stderr, taken);
    assertStringIncludes(stderr, '/missing" does not exist');
    assertStringIncludes(stderr, '/link" is a symbolic link: name the file that it leads to');
    assertStringIncludes(stderr, '/d" is a directory: put it with -r');
    assertStringIncludes(stderr, "1 file copied, 1 B");
    assertEquals(await listNames(local), ["d", "link", "taken"]);
    assertEquals(await readTree(inbox), { "taken": "theirs", "free": "2" });
    await files.runToSuccess("put", "--move", "--force", `${local}/taken`, "camera:taken");
    assertEquals(await readTree(inbox), { "taken": "mine", "free": "2" });
    await fill(local, { "name": "1" });
    const renaming = ["put", "--move", `${local}/name`, "camera:other"];
    await files.runToFailure(2, "--move keeps the names of files", ...renaming);
  }
  await fill(local, { "now": "1" });
  const now = ["put", "--move", `${local}/now`, "camera:"];
  await files.runToFailure(
    1,
    "now: it was modified or renamed less than 3 s ago, and perhaps is still being written: run the same command again in 3 s",
    ...now,
  );
  assertEquals(await listNames(local), ["d", "link", "name", "now"]);
});

Deno.test("sync --move keeps excluded files, and the ignore list", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  using _clock = setClockAhead(AHEAD);
  const out = { ".deguignore": "*.keep\n", "a": "1", "b.keep": "2", "d/c": "3", "d/e.tmp": "4" };
  await fill(local, out);
  await fill(inbox, { "out/old": "5" });
  const syncArgs = ["sync", "--move", "--exclude", "*.tmp", local, "camera:out"];
  const dry = await files.runToSuccess(...syncArgs, "--dry-run");
  assertStringIncludes(dry.stderr, "2 files would be copied");
  assertEquals(await readTree(local), { ...out, "d": null });
  for (const moved of ["2 files copied, 2 B", "no file to copy"]) {
    assertStringIncludes((await files.runToSuccess(...syncArgs)).stderr, moved);
    const { a: _a, "d/c": _c, ...left } = out;
    assertEquals(await readTree(local), { ...left, "d": null });
    assertEquals(await readTree(`${inbox}/out`), { "a": "1", "d": null, "d/c": "3", "old": "5" });
  }
  const downloadArgs = ["sync", "--move", "camera:", `${local}/new`];
  await files.runToFailure(2, "--move removes files from this device only", ...downloadArgs);
});

// Random trees, with interruptions, compared with a model.

/** Paths. A file of one tree may have the path of a directory of another tree. */
const PATHS = ["a", "b", "d", "d/a", "d/b", "d/e/f", "e", "e/a", "x y", "é", ".hidden", "z.tmp"];
const KINDS = ["same", "other", "nothing", "there alone"] as const;
const SIZES = [0, 1, 1000, 70_000, 300_000];

const trees = fc.record({
  entries: fc.uniqueArray(
    fc.record({
      path: fc.constantFrom(...PATHS),
      kind: fc.constantFrom(...KINDS),
      size: fc.constantFrom(...SIZES),
      isLink: fc.integer({ max: 9, min: 0 }).map((n) => HAS_LINKS && n === 0),
    }),
    { selector: ({ path }) => path, minLength: 1, maxLength: PATHS.length },
  ),
  force: fc.boolean(),
  command: fc.constantFrom("put", "put named", "sync"),
  interruption: fc.constantFrom("none", "signal", "cut", "cut"),
  after: fc.integer({ min: 1, max: 12 }),
});

/** Returns the files of both trees, without paths below a file of the same tree. */
function filesOf({ entries }: { entries: readonly Entry[] }) {
  const [source, target]: Record<string, string>[] = [{}, {}];
  const links: string[] = [];
  const put = (tree: Record<string, string>, path: string, text: string) => {
    const isFree = [...Object.keys(tree), ...links].every((each) =>
      !each.startsWith(`${path}/`) && !path.startsWith(`${each}/`)
    );
    if (isFree) tree[path] = text;
    return isFree;
  };
  for (const { path, kind, size, isLink } of entries) {
    const text = `${path}|`.repeat(size).slice(0, size);
    if (isLink) {
      if (put(source!, path, "") && delete source![path]) links.push(path);
    } else if (kind !== "there alone") put(source!, path, text);
    if (kind === "same") put(target!, path, text);
    if (kind === "other" || kind === "there alone") put(target!, path, `other ${path}`);
  }
  return { source: source!, target: target!, links };
}

interface Entry {
  readonly path: string;
  readonly kind: typeof KINDS[number];
  readonly size: number;
  readonly isLink: boolean;
}

const textsIn = async (dir: string) =>
  Object.entries(await readTree(dir)).filter((each): each is [string, string] => each[1] !== null);

Deno.test("--move, in random trees and interrupted: each file is unchanged at the source or the target, and other files of the target stay", async () => {
  await using files = await AgentFiles.start();
  using _clock = setClockAhead(AHEAD);
  using pauses = skipPauses();
  let count = 0, interrupted = 0, moved = 0;
  const property = fc.asyncProperty(trees, async (given) => {
    const name = `tree${count++}`;
    const [local, remote] = [`${files.local}/${name}`, `${files.inbox}/${name}`];
    const { source, target, links } = filesOf(given);
    await fill(files.local, { [name]: null });
    await fill(files.inbox, { [name]: null });
    await fill(local, source);
    await fill(remote, target);
    const dirs = links.flatMap((path) => path.includes("/") ? [dirname(path)] : []);
    await fill(local, Object.fromEntries(dirs.map((dir) => [dir, null])));
    if (HAS_LINKS) {
      await makeLinks(Object.fromEntries(links.map((path) => [`${local}/${path}`, "/nowhere"])));
    }
    const { command, force, interruption, after } = given;
    const [named] = Object.keys(source).filter((path) => !path.includes("/"));
    const isSync = command === "sync", isNamed = command === "put named" && named !== undefined;
    const isMeant = (path: string) => isNamed ? path === named : !isSync || path !== "z.tmp";
    const replaces = force || isSync;
    const args = isSync
      ? ["sync", "--exclude", "*.tmp", local, `camera:${name}`]
      : isNamed
      ? ["put", ...force ? ["--force"] : [], `${local}/${named}`, `camera:${name}/`]
      : ["put", "-r", ...force ? ["--force"] : [], local, "camera:"];
    for (const isFirst of [true, false]) {
      const isFile = ([path]: readonly [string, string]) => !links.includes(path);
      const [ours, theirs] = [(await textsIn(local)).filter(isFile), await textsIn(remote)];
      await using relay = new CuttingRelay(files.address);
      if (isFirst && interruption === "cut") relay.cutAfter(after * 20_000);
      let lines = 0;
      const options = ["--json", "--move", "--address", formatAddress(relay.address)];
      await using agent = files.start([...args, ...options], {
        onText: (to, text) => {
          pauses.note(text);
          if (text.includes("trying again")) relay.cutAfter(Infinity);
          if (!isFirst || interruption !== "signal" || to !== "stdout") return;
          if (++lines === after) agent.kill("SIGINT");
        },
      });
      const end = await agent.waitForEnd();
      if (end.code === 130) interrupted++;
      const localTexts = new Map(await textsIn(local));
      const remoteTexts = new Map(await textsIn(remote));
      for (const [path, text] of ours) {
        const isLocal = localTexts.has(path);
        assertEquals(localTexts.get(path) ?? remoteTexts.get(path), text, `${path} is lost`);
        assert(isLocal || isMeant(path), `${path} was not meant`);
        if (!isLocal) moved++;
        const info = await Deno.stat(`${remote}/${path}`).catch(() => null);
        const isInTheWay = info?.isDirectory === true ||
          theirs.some(([each, other]) =>
            each === path
              ? !replaces && other !== text
              : each.startsWith(`${path}/`) || path.startsWith(`${each}/`)
          );
        if (end.code === 0) assertEquals(isLocal, !isMeant(path), `${path}, ${end.stderr}`);
        else if (end.code === 1) assert(isLocal || !isInTheWay, `${path} was in the way`);
      }
      for (const [path, text] of theirs) {
        const now = remoteTexts.get(path);
        const isReplaced = replaces && isMeant(path) && now === new Map(ours).get(path);
        assert(now === text || isReplaced, `${path} there is lost`);
      }
      for (const path of links) assert((await Deno.lstat(`${local}/${path}`)).isSymlink, path);
    }
  });
  await fc.assert(property, { numRuns: 12, seed: 20261124 });
  assert(interrupted > 0 && moved > 15, `${interrupted} interrupted, ${moved} moved`);
});
