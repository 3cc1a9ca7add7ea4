/**
 * The files that commands leave out: excluded paths, and the own keys of the device, by their path,
 * a hard link, a link, or another mount of the directory of the device or of a part of it.
 */
import { ExcludePatterns, findExcludeProblem } from "@degu/internal/agent/copy/exclude_pattern.ts";
import { IgnoreList } from "@degu/internal/agent/copy/ignore_list.ts";
import { Failure } from "@degu/internal/agent/failure.ts";
import { createTempDir, fill, listNames, readTree } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { findDeviceDirectory } from "@degu/internal/agent/machine/local_paths.ts";
import { AgentFiles } from "./agent_files.ts";
import { runAgent, runAgentCommands } from "@degu/testing/agents.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { patch } from "@degu/testing/patching.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { makeTrees } from "@degu/testing/trees.ts";
import { fromFileUrl } from "@std/path";

/** The lines, matching paths, and other paths; the path of a directory ends with a slash. */
const rows: [rule: string, lines: string[], matched: string[], others: string[]][] = [
  ["a name, anywhere", ["a"], ["a", "a/", "x/a", "x/y/a/"], ["ab", "a b", "A", "b/c"]],
  ["a path, from the top on", ["/a", "b/c"], ["a", "b/c", "b/c/"], ["x/a", "x/b/c", "c"]],
  ["a directory", ["a/", "/b/c/"], ["a/", "x/a/", "b/c/"], ["a", "b/c", "x/b/c/"]],
  ["any number of characters", ["*.o"], [".o", "a.o", "x/b.o"], ["o", "a.ob"]],
  ["no slash among them", ["a/*", "b*c"], ["a/x", "a/.x"], ["b/c", "x/a/y"]],
  ["many stars are one", ["a***b"], ["ab", "axxb", "x/ab"], ["a/b", "abc"]],
  ["one character", ["a?c", "?é?"], ["abc", "ééé"], ["ac", "abbc", "a/c", "éé"]],
  ["any directories before", ["**/a/b"], ["a/b", "x/a/b", "x/y/a/b"], ["b", "a/x/b"]],
  ["any directories between", ["a/**/b"], ["a/b", "a/x/b", "a/x/y/b/"], ["x/a/b", "a/bb"]],
  ["everything", ["**"], ["a", "a/b/"], []],
  ["a set", ["[ab]x", "[a-c0-9]y"], ["ax", "x/bx", "cy", "5y"], ["cx", "dy", "x", "-y"]],
  ["no character of a set", ["[!ab]x", "[^a-c]y"], ["cx", "!x", "dy"], ["ax", "by"]],
  ["brackets and hyphens in a set", ["[]-]1", "[a-]2"], ["]1", "-1", "-2"], ["11", "b2"]],
  ["a backslash in a set", ["[\\]]3"], ["]3"], ["\\3"]],
  ["a set with a name", ["[[:digit:]_]a", "[![:upper:]]b"], ["1a", "_a", "cb"], ["da", "Ab"]],
  ["a set that does not end, or is none", ["[a", "[[:none:]]"], [], ["[a", "a", "n", "n]"]],
  ["a backslash takes away the meaning", ["\\*", "\\#a", "\\!b"], ["*", "#a", "!b"], ["x", "a"]],
  ["a backslash at the end is no pattern", ["a\\"], [], ["a", "a\\"]],
  ["spaces at the end, unless they are escaped", ["a  ", "b\\ ", "c\\  "], ["a", "b ", "c "], [
    ...["a ", "b", "c  "],
  ]],
  ["comments, and nothing", ["#a", "", "  ", "/", "!"], [], ["#a", "a"]],
  ["the last match decides", ["*.o", "!a.o", "b/a.o"], ["x.o", "b/a.o"], ["a.o", "x/a.o"]],
];

Deno.test("lines as in .gitignore match", async (t) => {
  await testEachRow(t, rows, async (_rule, lines, matched, others) => {
    const list = await IgnoreList.read("/tmp/none", lines);
    const ignores = (path: string) => {
      const isDirectory = path.endsWith("/");
      const names = (isDirectory ? path.slice(0, -1) : path).split("/");
      return list.isIgnored(names, isDirectory);
    };
    assertEquals(matched.filter((path) => !ignores(path)), [], "matched");
    assertEquals(others.filter(ignores), [], "not matched");
  });
});

Deno.test("a pattern has no effect if it matches nothing, or another line decides", async (t) => {
  const rows: [patterns: string[], paths: string[], unusedPatterns: string[]][] = [
    [["*.o", "a.o"], ["a.o"], ["a.o"]],
    [["a.o", "*.o"], ["a.o", "b.o"], []],
    [["*.o", "!a.o", "!a*"], ["a.o", "b.o"], ["!a*"]],
    [["*.o", "!a*", "*.o", "!a.o"], ["a.o", "b.o", "ab.o"], ["!a*"]],
    [["!a.o", "*.o"], ["a.o"], ["!a.o"]],
    [["build/", "!build/keep"], ["build/"], ["!build/keep"]],
    [["/*", "!/a", "!/b/c"], ["a/", "a/x", "b/"], ["!/b/c"]],
    [["a", "!a", "*.o"], ["a/", "a/b.o"], ["a"]],
    [["d/", "x"], ["d", "x"], ["d/"]],
    [["\\!a", "\\#b", "# c", " "], ["!a", "#b"], []],
    [["a", "a"], ["a"], []],
    [["a\\"], ["a"], ["a\\"]],
  ];
  await testEachRow(
    t,
    rows.map(([patterns, ...rest]) => [patterns.join(), patterns, ...rest] as const),
    (_rule, patterns, paths, unusedPatterns) => {
      const excluded = new ExcludePatterns(patterns);
      for (const path of paths) excluded.matches(path);
      assertEquals(excluded.unusedPatterns, unusedPatterns);
    },
  );
});

Deno.test("--exclude: a pattern that matches no path is refused, any other is accepted", async (t) => {
  const wrong = ["", "  ", "#x", "./build", "!", "! ", "!./a", "/", "//", "!/", ".", "..", "./"];
  wrong.push("../a", "a/../b", "a/./b");
  await testEachRow(t, wrong.map((pattern): [string] => [pattern]), (pattern) => {
    assertStringIncludes(findExcludeProblem(pattern) ?? "", "matches no path");
  });
  const ofRows = rows.filter(([, , matched]) => matched.length > 0).flatMap(([, lines]) => lines);
  const others = ["!!", "!#x", "~/x", "日[本語]", "[^ -~]", "{a,b}", " a ", "\\ "];
  for (const pattern of [...ofRows, ...others]) {
    assertEquals(findExcludeProblem(pattern), null, pattern);
  }
});

/**
 * Returns the files of a, b and c that a list with these bytes excludes; `null` for an unreadable
 * list.
 */
async function leftOut(bytes: Uint8Array<ArrayBuffer> | string): Promise<string | null> {
  await using dir = await createTempDir();
  const content = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  await Deno.writeFile(`${dir.path}/.deguignore`, content);
  try {
    const list = await IgnoreList.read(dir.path, []);
    return ["a", "b", "c"].filter((name) => list.isIgnored([name], false)).join("");
  } catch (error) {
    if (error instanceof Failure && error.message.includes("can't be used")) return null;
    throw error;
  }
}

/** UTF-16, with the low byte first. */
function utf16(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint16Array.from(text, (each) => each.charCodeAt(0)).buffer);
}

Deno.test("a list is UTF-8, with a byte order mark or without, and any other list can't be used", async (t) => {
  await testEachRow(
    t,
    [
      ["UTF-8", "a\nb\n", "ab"],
      ["with a byte order mark", "\ufeffa\nb", "ab"],
      ["nothing", "", ""],
      ["UTF-16 with a byte order mark", utf16("\ufeffa\nb\n"), null],
      ["UTF-16 without one", utf16("a\nb\n"), null],
      ["Latin-1", new Uint8Array([0x61, 0x0a, 0xe9, 0x0a]), null],
      ["10,000 lines", "x\n".repeat(9_999) + "a\n", "a"],
      ["a line more", "x\n".repeat(10_000) + "a\n", null],
      ["a line of 1,000 characters", "\u20ac".repeat(1_000) + "\nb", "b"],
      ["a character more", "x".repeat(1_001) + "\nb", null],
    ] as [string, string | Uint8Array<ArrayBuffer>, string | null][],
    async (_name, bytes, expected) => {
      assertEquals(await leftOut(bytes), expected);
    },
  );
});

Deno.test("a list whose bytes have changed is refused", async (t) => {
  const before = "a\n";
  await testEachRow(t, [
    ["the same", before, before, false],
    ["other lines", before, "b\n", true],
    ["emptied", before, "", true],
    ["gone", before, null, true],
    ["new", null, "a\n", true],
    ["none", null, null, false],
  ] as [string, string | null, string | null, boolean][], async (_name, first, second, changes) => {
    await using dir = await createTempDir();
    if (first !== null) await fill(dir.path, { ".deguignore": first });
    const list = await IgnoreList.read(dir.path, []);
    if (second === null) await Deno.remove(`${dir.path}/.deguignore`).catch(() => {});
    else await fill(dir.path, { ".deguignore": second });
    if (changes) {
      assertThrows(() => list.checkUnchanged(), Failure, "has changed since it was read");
    } else list.checkUnchanged();
  });
});

const linkObstacle = HAS_LINKS ? null : "links can't be made here";
const mountObstacle = await findMountObstacle();
const whyNoMounts = mountObstacle && `no disk can be mounted here (${mountObstacle})`;

Deno.test(
  "hard links of the device's files, and links to them, are recognized",
  ignoreIf(linkObstacle),
  async () => {
    await using dir = await createTempDir();
    const { path } = dir;
    await fill(path, { "own/identity/key": "secret", "own/device.json": "{}", "own/lock": "" });
    await fill(path, { "tree/a": "secrex", "tree/empty": "", "tree/d/b": "1" });
    await Deno.link(`${path}/own/identity/key`, `${path}/tree/d/hard`);
    await makeLinks({ [`${path}/soft`]: "own/identity/key" });
    const own = await findDeviceDirectory(`${path}/own`);
    for (const each of ["tree/d/hard", "soft"]) {
      await assertRejects(() => own.check(`${path}/${each}`), Failure, "keys", each);
    }
    for (const each of ["tree", "tree/a", "tree/empty", "tree/d"]) {
      await own.check(`${path}/${each}`);
      assertEquals(own.overlaps(`${path}/${each}`), false, each);
    }
    for (const each of [path, `${path}/own`, `${path}/own/identity`, `${path}/tree/d/hard`]) {
      assertEquals(own.overlaps(each), true, each);
    }
  },
);

Deno.test(
  "no command sends a hard link of a key, or replaces a key through a link",
  ignoreIf(linkObstacle),
  async () => {
    await using files = await AgentFiles.start();
    const { homes, share, inbox, local } = files;
    const identity = `${homes.joinPath("viewer")}/identity`;
    const before = await readTree(identity);
    const isKey = ([, text]: [string, unknown]) => `${text}`.includes("PRIVATE KEY");
    const [key = ""] = Object.entries(before).find(isKey) ?? [];
    await Deno.link(`${identity}/${key}`, `${local}/hard`);
    await makeLinks({ [`${local}/soft`]: `${identity}/${key}` });
    await fill(share, { "f": "forged" });
    const problem = "its keys";
    await files.runToFailure(1, problem, "put", `${local}/hard`, "camera:");
    await files.runToFailure(1, problem, "put", `${local}/soft`, "camera:");
    await files.runToFailure(1, problem, "get", "camera:f", `${local}/soft`);
    using _hostname = patch(Deno, "hostname", () => () => "machine.lan");
    await files.runToFailure(2, problem, "send", `${local}/hard`);
    await fill(local, { "tree/a": "1" });
    await Deno.rename(`${local}/hard`, `${local}/tree/hard`);
    await files.runToSuccess("put", "-r", `${local}/tree`, "camera:");
    await files.runToSuccess("sync", `${local}/tree`, "camera:s");
    assertEquals(await readTree(inbox), { s: null, "s/a": "1", tree: null, "tree/a": "1" });
    assertEquals(await readTree(identity), before);
  },
);

Deno.test(
  "sync --delete refuses a directory that contains the home directory, the device or degu",
  ignoreIf(linkObstacle),
  async () => {
    await using files = await AgentFiles.start();
    const { homes, share, local } = files;
    await fill(share, { "d/a": "1" });
    await fill(local, { "user/copy/old": "2", "user/notes": "3" });
    const user = `${local}/user`;
    await makeLinks({ [`${local}/soft`]: user });
    const { "user/copy/old": _old, ...others } = await readTree(local);
    const program = fromFileUrl(new URL("../..", import.meta.url));
    const rows: [home: string, dir: string, expectedMessage: string][] = [
      [user, user, "is your home directory"],
      [user, `${user}/../user/.`, "is your home directory"],
      [user, `${local}/soft`, "is your home directory"],
      [user, local, "contains your home directory"],
      [user, program, "contains the program degu"],
      [user, `${user}/copy`, ""],
      ["", homes.path, "contains the directory of the device"],
    ];
    for (const [home, dir, expectedMessage] of rows) {
      using _permission = patch(Deno.permissions, "querySync", (querySync) => (descriptor) => {
        return querySync(descriptor.name === "env" ? { name: "read", path: user } : descriptor);
      });
      using _home = patch(Deno.env, "get", () => () => home);
      const command = ["sync", "--delete", "camera:d", dir];
      if (expectedMessage === "") await files.runToSuccess(...command);
      else await files.runToFailure(2, expectedMessage, ...command);
    }
    const args = ["--home", homes.joinPath("viewer"), "sync", "--delete", "camera:d", "/"];
    const { code, stderr } = await runAgent(args, { flags: ["--allow-all"] });
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, '"/" contains your home directory');
    assertEquals(await readTree(local), { ...others, "user/copy/a": "1" });
  },
);

Deno.test("the device's directory and its content are recognized by any path", async () => {
  await using dir = await createTempDir();
  const { path } = dir;
  await fill(path, { "state/home/peers": null, "state/home-2": null });
  await makeLinks({ [`${path}/link`]: `${path}/state/home` });
  const deviceDirectory = await findDeviceDirectory(`${path}/link`);
  const inside = ["link", "link/peers", "state/home", "state/../state/home/peers"];
  for (const each of [...inside, "state/home/new", "link/new/deep"]) {
    await assertRejects(() => deviceDirectory.check(`${path}/${each}`), Failure, "keys", each);
  }
  for (const each of ["state", "state/home-2", "new", "new/deep"]) {
    await deviceDirectory.check(`${path}/${each}`);
  }
});

for (const direction of ["download", "upload"] as const) {
  Deno.test(`${direction}: a tree with the device's directory is copied without it, and the directory stays unchanged`, async () => {
    const keys = { "state/own/key": "secret", "state/own/peers/a": "peer" };
    for (const remote of [{ "state/own/key": "forged" }, { "state/own": "a file" }, {}]) {
      const [source, target] = direction === "download" ? [remote, keys] : [keys, remote];
      const from = { ...source, "a": "1" };
      await using trees = await makeTrees(direction, from, { ...target, "old": "2" });
      const root = direction === "download" ? trees.target : trees.source;
      const treeBefore = await readTree(`${trees.target}/state`).catch(() => null);
      const deviceDirectory = await findDeviceDirectory(`${root}/state/own`);
      const skippedPaths = new Set<string>();
      const isIncluded = await deviceDirectory.filter(
        root,
        (path) => skippedPaths.add(path.join("/")),
      );
      const filter = { file: isIncluded, directory: isIncluded };
      const { result, outcomes } = await trees.copy({ filter, delete: true });
      assertEquals([result.failed, outcomes["a"]], [0, "copied"]);
      assertEquals([...skippedPaths], ["state/own"]);
      const treeAfter = await readTree(trees.target);
      assertEquals([treeAfter["a"], treeAfter["old"]], ["1", undefined]);
      if (treeBefore !== null) assertEquals(await readTree(`${trees.target}/state`), treeBefore);
      else assertEquals(treeAfter, { "a": "1", "state": null });
    }
  });
}

Deno.test("no command copies files from or to the device's directory, or deletes files in it", async () => {
  await using files = await AgentFiles.start();
  const { homes, share, inbox } = files;
  const home = homes.joinPath("viewer");
  await fill(share, { "d/device.json": "forged", "d/identity/f": "1" });
  const treeBefore = await readTree(home);
  for (
    const command of [
      ["get", "camera:d/device.json", `${home}/`],
      ["get", "-r", "camera:d", `${home}/peers`],
      ["sync", "--delete", "camera:d", home],
      ["sync", `${home}/identity`, "camera:"],
      ["put", "-r", home, "camera:"],
      ["put", `${home}/device.json`, "camera:"],
    ]
  ) await files.runToFailure(1, "is the directory of the device, or in it", ...command);
  assertEquals(await readTree(home), treeBefore);
  assertEquals(await readTree(inbox), {});
});

Deno.test("earlier versions are neither sent nor deleted; another device's directory is copied as any other", async () => {
  await using files = await AgentFiles.start();
  const { homes, local, share, inbox } = files;
  const versions = { ".degu-kept": null, ".degu-kept/2026-01-31T14_1": "old" };
  await fill(`${local}/tree`, { ...versions, "a": "1" });
  await homes.init("other");
  await Deno.rename(homes.joinPath("other"), `${local}/tree/other`);
  const device = await readTree(`${local}/tree/other`);
  const { stderr } = await files.runToSuccess("put", "-r", `${local}/tree`, "camera:");
  assertStringIncludes(stderr, `${local}/tree/.degu-kept: skipped: its name is reserved`);
  assertEquals(await listNames(`${inbox}/tree`), ["a", "other"]);
  assertEquals(await readTree(`${inbox}/tree/other`), device);
  await fill(share, { "from/b": "2" });
  await files.runToSuccess("sync", "--delete", "camera:from", `${local}/tree`);
  assertEquals(await readTree(`${local}/tree`), { ...versions, "b": "2" });
});

/** Mounts pairs of a directory and a path, before `--`, and runs the command behind it. */
const MOUNT_ALL =
  'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit; shift 2; done; shift; exec "$@"';
const throughMounts = (...pairs: string[]) => [
  ...THROUGH_MOUNT_NAMESPACE,
  ...["sh", "-c", MOUNT_ALL, "sh", ...pairs, "--"],
];

async function runAtHome(home: string, commands: string[][], through: string[]) {
  const ends = await runAgentCommands(commands.map((args) => ["--home", home, ...args]), through);
  return ends.map((end, i) => ({ ...end, command: commands[i] }));
}

Deno.test(
  "no command uses another mount of the device's directory, or of a directory in or above it",
  ignoreIf(whyNoMounts),
  async () => {
    await using files = await AgentFiles.start();
    const { homes, share, inbox, local } = files;
    const home = homes.joinPath("viewer");
    const [alias, inside, above] = [`${local}/alias`, `${local}/inside`, `${local}/above`];
    await fill(local, { alias: null, inside: null, above: null });
    await fill(share, { "d/device.json": "forged", "d/identity/f": "1" });
    const before = await readTree(home);
    const commands = [
      ["put", `${alias}/device.json`, "camera:"],
      ["put", "-r", alias, "camera:"],
      ["sync", alias, "camera:s"],
      ["sync", "--delete", "camera:d", alias],
      ["sync", "camera:d", `${alias}/identity`],
      ["get", "-r", "camera:d", alias],
      ["get", "camera:d/device.json", alias],
      ["get", "camera:d/device.json", `${alias}/device.json`],
      ["send", alias],
      ["send", `${alias}/device.json`],
      ["receive", "--from", "x", alias],
      ["serve", "--share", alias],
      ["serve", "--share", `${alias}/identity`],
      ["serve", "--inbox", alias],
      ["serve", "--inbox", `${alias}/peers/new`],
      ["serve", "--inbox-for-all", alias],
      ["put", "-r", inside, "camera:"],
      ["sync", "camera:d", inside],
      ["send", inside],
      ["serve", "--share", inside],
      ["serve", "--inbox", `${inside}/new`],
      ["put", `${above}/viewer/device.json`, "camera:"],
      ["sync", `${above}/viewer/identity`, "camera:s"],
      ["send", above],
      ["serve", "--share", above],
      ["serve", "--inbox", above],
    ];
    const through = throughMounts(home, alias, `${home}/identity`, inside, homes.path, above);
    for (const { command, code, stderr } of await runAtHome(home, commands, through)) {
      assert(code === 1 || code === 2, `${command}: ${code} ${stderr}`);
      assertStringIncludes(stderr, "keys", `${command}`);
    }
    assertEquals(await readTree(home), before);
    assertEquals(await readTree(inbox), {});
  },
);

Deno.test(
  "the keys are recognized with permissions for the named path alone",
  ignoreIf(whyNoMounts),
  async () => {
    await using files = await AgentFiles.start();
    const { homes, inbox, local } = files;
    const home = homes.joinPath("viewer");
    const alias = `${local}/alias`;
    await Deno.mkdir(alias);
    const through = throughMounts(home, alias);
    for (const path of [`${alias}/device.json`, `${alias}/identity`, alias]) {
      const flags = homes.makeFlags("viewer", "--allow-net=127.0.0.1", `--allow-read=${path}`);
      const putArgs = ["--home", home, "put", "-r", path, "camera:"];
      const { code, stderr } = await runAgent(putArgs, { flags, through });
      assertEquals(code, 1, stderr);
      assertStringIncludes(stderr, "its keys", path);
    }
    assertEquals(await readTree(inbox), {});
  },
);

Deno.test(
  "a tree is copied without another mount of the device's directory in it",
  ignoreIf(whyNoMounts),
  async () => {
    await using files = await AgentFiles.start();
    const { homes, share, inbox, local } = files;
    const home = homes.joinPath("viewer");
    await fill(local, { "tree/a": "1", "tree/d/alias": null });
    await fill(share, { "tree/b": "2", "tree/d/alias/identity/f": "forged" });
    const before = await readTree(home);
    const through = throughMounts(home, `${local}/tree/d/alias`);
    const commands = [
      ["put", "-r", `${local}/tree`, "camera:"],
      ["sync", `${local}/tree`, "camera:s"],
      ["sync", "--delete", "camera:tree", `${local}/tree`],
    ];
    for (const { command, code, stderr } of await runAtHome(home, commands, through)) {
      assertEquals(code, 0, `${command}: ${stderr}`);
      assertStringIncludes(stderr, "the directory of this device", `${command}`);
    }
    assertEquals(await readTree(home), before);
    const copied = { s: null, "s/a": "1", "s/d": null, tree: null, "tree/a": "1", "tree/d": null };
    assertEquals(await readTree(inbox), copied);
    assertEquals(await Deno.readTextFile(`${local}/tree/b`), "2");
  },
);
