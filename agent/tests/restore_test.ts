/** Earlier versions of files: `--keep` of degu serve and degu sync, and degu restore. */
import { VersionStore } from "@degu/internal/files/kept_versions.ts";
import { AgentFiles, parseObjects } from "./agent_files.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { formatRestoreTime, parseRestoreTime } from "@degu/internal/agent/copy/restore_time.ts";
import { parseCommands } from "./agent_documentation.ts";
import { AgentHomes, runAgent, runAgentInProcess } from "@degu/testing/agents.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

const KEPT_BY_SERVE =
  "one to twelve versions an hour of each file that one peer replaces, and each file that a peer deletes";
const KEPT_BY_SYNC =
  "each local file that is replaced or deleted; with --every, one to twelve versions an hour of each replaced file";

/** Returns the contents of all versions below a directory. */
async function versionsIn(dir: string): Promise<string[]> {
  return Object.entries(await readTree(dir))
    .flatMap(([path, text]) => /\.degu-kept\/.*_/.test(path) && text !== null ? [text] : []).sort();
}

const DAYS = ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2020-01-05"];

async function makeOldDays(dir: string): Promise<void> {
  for (const [index, day] of DAYS.entries()) {
    const period = `${day}T09_${index + 1}`;
    await fill(dir, {
      [`.degu-kept/${period}/a`]: day,
      [`.degu-kept/${index + 1}.new`]: JSON.stringify(period),
    });
  }
}

Deno.test("serve --keep keeps what put --force, rm and sync --delete replace and delete, and reports it at its start", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox, inboxes } = files;
  await fill(local, { a: "2", "tree/b": "3" });
  await fill(inbox, { a: "1", gone: "4", "tree/old": "5" });
  await files.serve("--inbox", inboxes, "--keep", "30");
  await files.runToSuccess("put", "--force", `${local}/a`, "camera:");
  await files.runToSuccess("rm", "camera:gone");
  await files.runToSuccess("sync", "--delete", `${local}/tree`, "camera:tree");
  assertEquals(await versionsIn(inbox), ["1", "4", "5"]);
  const { stdout } = await files.runToSuccess("ls", "--inbox", "camera:");
  assertEquals(stdout, "a\ntree/\n");
  assertStringIncludes((await files.stop()).stderr, `keeping ${KEPT_BY_SERVE}, for 30 days\n`);
  await files.serve("--inbox", inboxes, "--keep", "1");
  assertStringIncludes((await files.stop()).stderr, `${KEPT_BY_SERVE}, for 1 day\n`);
});

Deno.test("serve and sync say in the same words which versions --keep keeps", async () => {
  const texts = [
    await readProjectFile("agent/docs/sync.md"),
    await readProjectFile("agent/docs/reference.md"),
    ...await Promise.all(["serve", "sync"].map(async (name) => {
      return (await runAgentInProcess([name, "--help"])).stdout;
    })),
  ].map((text) => text.replaceAll("`", "").replaceAll(/\s+/g, " "));
  assertEquals(texts.map((text) => text.includes(KEPT_BY_SERVE)), [true, true, true, false]);
  assertEquals(texts.map((text) => text.includes(KEPT_BY_SYNC)), [true, true, false, true]);
});

Deno.test("of three changes in an hour, serve --keep keeps one version, and sync --keep two", async () => {
  await using files = await AgentFiles.start();
  const { homes, inbox, local, share } = files;
  await files.serve("--inbox", files.inboxes, "--share", share, "--keep", "1");
  const to = homes.joinPath("copy");
  const args = ["--home", homes.joinPath("viewer"), "sync", "--keep", "1", "camera:", to];
  using _clock = patch(Date, "now", () => () => Date.parse("2026-01-31T14:10:00Z"));
  for (const text of ["1", "22", "333"]) {
    await fill(share, { a: text });
    await fill(local, { a: text });
    // Each run is a process, because a process knows which files it has stored.
    assertEquals((await runAgent(args, { flags: ["--allow-all"] })).code, 0);
    await files.runToSuccess("put", "--force", `${local}/a`, "camera:");
  }
  assertEquals((await versionsIn(inbox)).length, 1);
  assertEquals(await versionsIn(to), ["1", "22"]);
});

Deno.test("serve --keep removes the versions of old days when a peer changes files, and reports what fails", async () => {
  await using files = await AgentFiles.start();
  const { inbox, inboxes, local } = files;
  await makeOldDays(inbox);
  await fill(local, { b: "1" });
  const stores: VersionStore[] = [];
  using _open = patch(
    VersionStore.prototype,
    "open",
    (open) =>
      function (this: VersionStore, root) {
        stores.push(this);
        open.call(this, root);
      },
  );
  await files.serve("--inbox", inboxes, "--keep", "2");
  using _patch = patch(Deno, "remove", (remove) => (path, options) => {
    if (!`${path}`.includes("/2020-01-01")) return remove(path, options);
    return Promise.reject(new Error("Input/output error (os error 5)"));
  });
  await files.runToSuccess("put", `${local}/b`, "camera:");
  const { stderr } = await files.stop();
  for (const store of stores) await store.oldRemoved;
  assertStringIncludes(stderr, "old versions can't be removed");
  assertEquals((await versionsIn(inbox)).slice(-2), DAYS.slice(3));
});

Deno.test("sync --keep keeps local files, and the target is no inbox", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  // The sizes differ: two files that were written in one millisecond would count as identical.
  await fill(share, { "d/a": "22", "d/b.tmp": "x" });
  await fill(local, { "copy/a": "1", "copy/old": "3", "copy/.deguignore": "*.tmp\n" });
  const args = ["sync", "--delete", "--keep", "7", "camera:d", `${local}/copy`];
  for (let run = 1; run <= 2; run++) {
    const { stderr } = await files.runToSuccess(...args);
    assertEquals(stderr.includes("has no effect"), false, stderr);
  }
  assertEquals(await versionsIn(`${local}/copy`), ["1", "3"]);
  assertEquals(Object.keys(await readTree(`${local}/copy`)).includes("b.tmp"), false);
});

Deno.test("a wrong --keep is refused", async () => {
  await using files = await AgentFiles.start();
  const { local, inboxes, share } = files;
  const rows: [message: string, args: string[]][] = [
    ["--keep is for an inbox: add --inbox", ["serve", "--share", share, "--keep", "3"]],
    [
      "leave out --keep or --new-only",
      ["serve", "--inbox", inboxes, "--keep", "3", "--new-only"],
    ],
    ["must be a whole number of days", ["serve", "--inbox", inboxes, "--keep", "0"]],
    ["must be a whole number of days", ["sync", "camera:", local, "--keep", "1h"]],
    [
      "--keep is for what sync replaces and deletes on this device, and not on camera: use degu serve --keep on camera\n",
      [
        ...["sync", "--keep", "3", local, "camera:"],
      ],
    ],
  ];
  for (const [message, args] of rows) await files.runToFailure(2, message, ...args);
});

Deno.test("on a disk without hard links, --keep is refused at the start", async () => {
  await using files = await AgentFiles.start();
  using _patch = patch(Deno, "linkSync", () => () => {
    throw Object.assign(new Error("refused (os error 1)"), { code: "EPERM" });
  });
  const { inboxes, local } = files;
  const serve = ["serve", "--inbox", inboxes, "--keep", "3", "--listen", "127.0.0.1:0"];
  const { stderr } = await files.homes.run("camera", serve);
  assertStringIncludes(stderr, "has no hard links, so no versions can be kept: leave out --keep");
  await fill(files.share, { a: "1" });
  await files.runToFailure(1, "has no hard links", "sync", "camera:", local, "--keep", "3");
});

Deno.test("a peer's directory on a disk without hard links is refused with the reason, others are served", async () => {
  await using files = await AgentFiles.start();
  const { inbox, inboxes, share } = files;
  await fill(inbox, { a: "1" });
  await fill(share, { b: "2" });
  using _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    if (!`${from}`.startsWith(`${inbox}/`)) return linkSync(from, to);
    throw Object.assign(new Error("refused (os error 1)"), { code: "EPERM" });
  });
  await files.serve("--share", share, "--inbox", inboxes, "--keep", "3");
  await files.runToFailure(1, "camera", "rm", "camera:a");
  const { stdout } = await files.runToSuccess("ls", "camera:");
  assertEquals(stdout, "b\n");
  const { stderr } = await files.stop();
  assertStringIncludes(stderr, "viewer has no hard links, so no versions can be kept");
  assertEquals(stderr.includes("an error of the app"), false, stderr);
  assertEquals(await versionsIn(inbox), []);
});

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A file of this size is renamed at the other device as well. */
const MOVED = "moved".repeat(20_000);

/** A day on which each hour exists once, in each zone. */
const WRONG_TIMES: readonly (readonly [time: string, message: string])[] = [
  ["yesterday", "must be a day and an hour, as in 2026-01-31T14:00"],
  ["2026-01-31", "must be a day and an hour, as in 2026-01-31T14:00"],
  ["2026-13-01", "must be a day and an hour, as in 2026-01-31T14:00"],
  ["2026-02-30", "must be a day and an hour, as in 2026-01-31T14:00"],
  ["2999-01-31", "must be a day and an hour, as in 2026-01-31T14:00"],
  ["2026-01-31T24:30", "exist"],
  ["2026-02-30T14:00", "this local time doesn't exist"],
  ["2999-01-31T14:00", "must not be in the future"],
  ["2026-01-31T14:30", "must be a full hour, as in 2026-01-31T14:00"],
];

/** Formats the hour of a time for `--at`. */
function formatHour(time: Date): string {
  return formatRestoreTime(time).replace(/:\d\d(?=[+-])/, ":00");
}

/** Makes a desk that keeps the files of a laptop, and `home` with both directories. */
async function setUp() {
  const homes = await AgentHomes.create();
  const [, id] = await homes.init("desk", "laptop");
  assert(id !== undefined);
  await homes.pair("desk", "laptop");
  const inbox = homes.joinPath("Inbox");
  const documents = homes.joinPath("Documents");
  await fill(homes.path, { Inbox: null });
  await homes.serve("desk", ["--inbox", inbox, "--keep", "30"], "laptop");
  const sync = () =>
    homes.runToSuccess("laptop", ["sync", "--delete", documents, "desk:Documents"]);
  return {
    homes,
    inbox,
    documents,
    sync,
    kept: `${inbox}/laptop`,
    [Symbol.asyncDispose]: () => homes[Symbol.asyncDispose](),
  };
}

/** Syncs files, and a day later the same files after a day that went wrong. */
async function setUpWrongDay() {
  const devices = await setUp();
  const { documents, sync } = devices;
  await fill(documents, { letter: "good", "d/deleted": "1", "d/stays": "2", old: MOVED });
  await sync();
  const stack = new AsyncDisposableStack();
  stack.use(devices);
  stack.use(setClockAhead(DAY + 2 * HOUR));
  await Deno.rename(`${documents}/old`, `${documents}/renamed`);
  await Deno.remove(`${documents}/d/deleted`);
  await fill(documents, { letter: "encrypted!", "read me": "pay" });
  await sync();
  return { ...devices, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const GOOD = { letter: "good", d: null, "d/deleted": "1", "d/stays": "2", old: MOVED };

Deno.test("restore brings a directory back to yesterday, as --dry-run prints before, and changes nothing else", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  const before = await readTree(kept);
  const target = homes.joinPath("restored");
  const at = ["--at", formatHour(new Date(Date.now() - DAY))];
  const args = ["restore", ...at, `${kept}/Documents`, target];
  const plan = await homes.run("desk", [...args, "--dry-run", "--verbose"]);
  assertEquals(plan.code, 0, plan.stderr);
  const lines = plan.stdout.trimEnd().split("\n").map((line) =>
    line.replace(/version \S+/, "version").replace(/ \d{4}-.*/, "")
  );
  assertEquals(lines.sort(), [
    "left out: read me: it was not there then",
    "left out: renamed: it was not there then",
    "would restore d/deleted: version",
    "would restore d/stays: the present file",
    "would restore letter: version",
    "would restore old: version",
  ]);
  assertMatch(
    plan.stderr,
    /^would restore .*\/Documents as it was at \d{4}-\d\d-\d\dT\d\d:00[+-]\d\d:\d\d\n/,
  );
  const summary =
    /\n4 files would be restored, 100 kB; 2 left out, not there then: .* as it was at /;
  assertMatch(plan.stderr, summary);
  assertEquals([...Deno.readDirSync(homes.path)].some(({ name }) => name === "restored"), false);
  const { code, stdout, stderr } = await homes.run("desk", args);
  assertEquals([code, stdout.includes("left out")], [0, false], stderr);
  assertMatch(stderr, /\n4 files restored, 100 kB; 2 left out, not there then: /);
  assertEquals(await readTree(target), GOOD);
  assertEquals(await readTree(kept), before);
  const json = await homes.run("desk", [
    "--json",
    "restore",
    ...at,
    `${kept}/Documents`,
    homes.joinPath("json"),
  ]);
  const objects = parseObjects(json);
  const letter = objects.find(({ path }) => path === "letter")!;
  assertMatch(`${letter.version}`, /^\d{4}-\d\d-\d\dT\d\d_2$/);
  assertEquals([letter.action, letter.size], ["restore", 4]);
  assertEquals(objects.filter(({ action }) => action === "leave").length, 2);
});

Deno.test("restore warns of each link, which it doesn't restore", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  await makeLinks({ [`${kept}/Documents/link`]: "/nowhere" });
  const at = ["--at", formatHour(new Date(Date.now() - DAY))];
  const args = ["restore", ...at, `${kept}/Documents`, homes.joinPath("restored")];
  const { code, stderr } = await homes.run("desk", args);
  const warning = "degu: warning: not restored: link: not a file, but a link or special file\n";
  assertEquals([code, stderr.includes(warning)], [0, true], stderr);
});

Deno.test("restore --json prints the code of the error of a file", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  using _patch = patch(Deno, "renameSync", (renameSync) => (from, to) => {
    if (!`${to}`.endsWith("/restored/letter")) return renameSync(from, to);
    throw Object.assign(new Error("Permission denied (os error 13)"), { code: "EACCES" });
  });
  const at = ["--at", formatHour(new Date(Date.now() - DAY))];
  const args = ["--json", "restore", ...at, `${kept}/Documents`, homes.joinPath("restored")];
  const result = await homes.run("desk", args);
  const { error } = parseObjects(result).find(({ path }) => path === "letter")!;
  assertEquals([result.code, error], [1, {
    code: "NOT_PERMITTED",
    message: "Permission denied (os error 13)",
  }]);
});

/** Runs the commands of a section of the page, and returns the time that they restore. */
async function runSection(
  heading: string,
  { homes, at }: { readonly homes: AgentHomes; readonly at: Date },
): Promise<void> {
  const page = await readProjectFile("agent/docs/restore.md");
  const [, section = ""] = page.split(`## ${heading}\n`);
  const commands = parseCommands(section.split("\n## ")[0]!)
    .filter(([, command]) => command.startsWith("degu "));
  assert(commands.length >= 4, heading);
  for (const [machine, command] of commands) {
    const words = command.split(" ").slice(1).map((word) =>
      word.replace("2026-01-31T14:00", formatHour(at))
        .replace(/^~/, homes.path)
    );
    await homes.runToSuccess(machine === "new" ? "laptop-2" : machine, words);
  }
}

Deno.test("a directory is restored by the page alone", async () => {
  await using devices = await setUpWrongDay();
  const { homes, documents, kept } = devices;
  const at = new Date(Date.now() - DAY);
  await runSection("A directory", { homes, at });
  assertEquals(await readTree(documents), GOOD);
  assertEquals((await readTree(kept))["Documents-restored"], undefined);
});

Deno.test("on the day on which the laptop and its identity are lost, its files are restored by the page alone", async () => {
  await using devices = await setUpWrongDay();
  const { homes, documents } = devices;
  await Deno.remove(homes.joinPath("laptop"), { recursive: true });
  await Deno.remove(documents, { recursive: true });
  await homes.init("laptop-2");
  await homes.pair("desk", "laptop-2");
  await homes.serve("desk", ["--inbox", devices.inbox, "--keep", "30"], "laptop-2");
  await runSection("A lost device", { homes, at: new Date(Date.now() - DAY) });
  assertEquals(await readTree(homes.joinPath("restored", "Documents")), GOOD);
});

Deno.test("restore continues an interrupted restore", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  const target = homes.joinPath("restored");
  const at = formatHour(new Date(Date.now() - DAY));
  const args = ["restore", "--at", at, `${kept}/Documents`, target];
  {
    using _disk = patch(Deno, "copyFile", (copyFile) => async (from, to) => {
      if (`${from}`.endsWith("/letter")) throw Object.assign(new Error("refused"), { code: "EIO" });
      await copyFile(from, to);
    });
    await homes.runToFailure("desk", 1, "again to continue", args);
  }
  assertEquals((await readTree(target)).letter, undefined);
  const { code, stderr } = await homes.run("desk", args);
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /\n1 file restored, 4 B; 3 restored earlier; 2 left out, not there then: /);
  assertEquals(await readTree(target), GOOD);
});

Deno.test("restore without --at restores nothing, and prints the commands for each hour with changes", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  const before = await readTree(homes.path);
  const target = homes.joinPath("restored");
  const { code, stdout, stderr } = await homes.run("desk", [
    "restore",
    `${kept}/Documents`,
    target,
  ]);
  assertEquals([code, await readTree(homes.path)], [0, before], stderr);
  // Before the first hour, no file was there.
  const lines = stdout.trimEnd().split("\n");
  const [summary = "", command = "", ...others] = lines;
  assertMatch(summary, /^\d{4}-\d\d-\d\dT\d\d: 4 files, 100 kB$/);
  assertEquals(others, []);
  await homes.runToSuccess("desk", command.trim().split(" ").slice(3));
  assertEquals(await readTree(target), GOOD);
});

const MINUTE = 60_000;
const LAST_RUN = { letter: "the second", d: null, "d/a": "1", new: "new" };

interface Accident {
  readonly name: string;
  readonly removed?: readonly string[];
  readonly replaced?: Record<string, string>;
  /** The new files. Within the hour of the last run, they are also in the state. */
  readonly added?: Record<string, string>;
}

const ACCIDENTS: readonly Accident[] = [
  { name: "all files are deleted", removed: ["letter", "d", "new"] },
  { name: "a new file is replaced", replaced: { new: "encrypted!" } },
  {
    name: "a new file is replaced, and another one deleted",
    replaced: { new: "encrypted!" },
    removed: ["letter"],
  },
  {
    name: "all files get other names",
    removed: ["letter", "d", "new"],
    added: { "letter.enc": "1", "new.enc": "2" },
  },
];

const DELAYS = [["nine minutes", 9 * MINUTE], ["an hour", HOUR], ["a day", DAY]] as const;

for (const [delay, milliseconds] of DELAYS) {
  for (const { name, removed = [], replaced = {}, added = {} } of ACCIDENTS) {
    Deno.test(`${delay} after the last run, ${name}: a line that restore prints brings all back`, async () => {
      await using devices = await setUp();
      const { homes, documents, kept } = devices;
      const args = ["sync", "--delete", "--delete-all", documents, "desk:Documents"];
      let now = Date.parse("2026-01-30T14:00:00Z");
      using _clock = patch(Date, "now", () => () => now);
      await fill(documents, { letter: "good", "d/a": "1" });
      await homes.runToSuccess("laptop", args);
      now += DAY;
      await fill(documents, { letter: "the second", new: "new" });
      await homes.runToSuccess("laptop", args);
      now += milliseconds;
      for (const each of removed) await Deno.remove(`${documents}/${each}`, { recursive: true });
      await fill(documents, { ...replaced, ...added });
      await homes.runToSuccess("laptop", args);
      const list = await homes.runToSuccess("desk", ["restore", `${kept}/Documents`]);
      const lines = list.split("\n");
      // The first screen, without the command and the title.
      assert(lines.length <= 22, list);
      const expected = { ...LAST_RUN, ...milliseconds < HOUR ? added : {} };
      const trees: string[] = [];
      const commands = lines.filter((line) => line.startsWith("  degu "));
      for (const [index, command] of commands.entries()) {
        const target = homes.joinPath(`new-${index}`);
        await homes.runToSuccess("desk", [...parseShellWords(command).slice(3, -1), target]);
        trees.push(formatTree(await readTree(target)));
      }
      assert(trees.includes(formatTree(expected)), `${list}${trees.join("\n")}`);
    });
  }
}

function formatTree(tree: Readonly<Record<string, string | null>>): string {
  return JSON.stringify(Object.entries(tree).sort());
}

/** Makes periods by hand: each with its versions, and the paths that were new. */
async function fillPeriods(
  dir: string,
  periods: Readonly<Record<string, readonly [versions: readonly string[], ...news: string[]]>>,
): Promise<void> {
  for (const [period, [versions, ...news]] of Object.entries(periods)) {
    const lines = [period, ...news].map((line) => JSON.stringify(line));
    await fill(dir, {
      [`.degu-kept/${period}`]: null,
      [`.degu-kept/${period.split("_")[1]}.new`]: lines.join("\n"),
      ...Object.fromEntries(versions.map((path) => [`.degu-kept/${period}/${path}`, period])),
    });
  }
}

interface List {
  readonly name: string;
  /** The restored directory. */
  readonly dir?: string;
  readonly present?: Readonly<Record<string, string>>;
  readonly periods: Parameters<typeof fillPeriods>[1];
  readonly removedList?: string;
  /** The listed periods. */
  readonly listed: readonly string[];
  readonly others?: string;
  /** The last line. */
  readonly earlier?: string;
}

const LISTS: readonly List[] = [
  {
    name: "only hours in which something changed in this directory",
    present: { "d/a": "", "e/a": "" },
    periods: {
      "2026-01-31T10_1": [[], "d/a", "e/a"],
      "2026-01-31T11_2": [["d/a"]],
      "2026-01-31T12_3": [["e/a"]],
      "2026-01-31T13_4": [[], "d/b"],
    },
    listed: ["2026-01-31T13_4", "2026-01-31T11_2"],
  },
  {
    name: "no directory of a removed period",
    present: { "d/a": "" },
    periods: { "2026-01-30T11_1": [["d/a"]], "2026-01-31T11_2": [["d/a"]] },
    removedList: "1.new",
    listed: ["2026-01-31T11_2"],
  },
  {
    name: "the order of the changes, if the clock was set back or ahead",
    present: { "d/a": "" },
    periods: {
      "2026-01-31T11_1": [["d/a"]],
      "2999-01-31T11_2": [["d/a"]],
      "1970-01-01T00_3": [["d/a"]],
      "2026-01-31T11_4": [["d/a"]],
    },
    listed: ["2026-01-31T11_4", "1970-01-01T00_3", "2999-01-31T11_2", "2026-01-31T11_1"],
  },
  {
    name: "a renamed directory only before its end",
    present: { "new/a": "" },
    periods: {
      "2026-01-31T11_1": [[], "d/a"],
      "2026-01-31T12_2": [["d/a"], "new/a"],
      "2026-01-31T13_3": [["new/a"]],
    },
    listed: ["2026-01-31T12_2"],
  },
  {
    name: "a renamed directory only since its beginning",
    dir: "new",
    present: { "new/a": "" },
    periods: {
      "2026-01-31T12_2": [["d/a"], "new/a"],
      "2026-01-31T13_3": [["new/a"]],
    },
    listed: ["2026-01-31T13_3"],
  },
  {
    name: "only states with files",
    present: { "d/a": "" },
    periods: {
      "2026-01-31T11_1": [[], "d/a"],
      "2026-01-31T11_2": [["d/a"]],
      "2026-01-31T11_3": [["d/a"]],
    },
    listed: ["2026-01-31T11_3", "2026-01-31T11_2"],
  },
  {
    name: "the only state of an hour with files",
    present: { "d/e": "" },
    periods: {
      "2026-01-31T11_1": [[], "d/a"],
      "2026-01-31T11_2": [["d/a"], "d/b"],
      "2026-01-31T11_3": [[], "d/c"],
      "2026-01-31T11_4": [[], "d/e"],
    },
    listed: ["2026-01-31T11_2"],
  },
  {
    name: "of an hour the first state and the last two, and names the others",
    present: { "d/a": "" },
    periods: Object.fromEntries(
      Array.from({ length: 8 }, (_, index) => [`2026-01-31T11_${index + 1}`, [["d/a"]]]),
    ),
    listed: ["2026-01-31T11_8", "2026-01-31T11_7", "2026-01-31T11_1"],
    others: "5 more: --at " +
      "2026-01-31T11_6, 2026-01-31T11_5, 2026-01-31T11_4, 2026-01-31T11_3 of this hour",
  },
  {
    name: "at most nine states",
    present: { "d/a": "" },
    periods: Object.fromEntries(
      Array.from(
        { length: 12 },
        (_, index) => [`2026-01-31T${index + 10}_${index + 1}`, [["d/a"]]],
      ),
    ),
    listed: Array.from({ length: 9 }, (_, index) => `2026-01-31T${21 - index}_${12 - index}`),
    earlier: "3 more: --at 2026-01-31T12_3, 2026-01-31T11_2, 2026-01-31T10_1, of earlier hours\n",
  },
];

for (const { name, dir = "d", present = {}, periods, removedList, listed, ...more } of LISTS) {
  const { others = "", earlier = "the last first:\n" } = more;
  Deno.test(`restore without --at lists ${name}, and each printed command restores files`, async () => {
    await using homes = await AgentHomes.create();
    // The printed command is one for a shell.
    const root = homes.joinPath("Anna's files");
    await fillPeriods(root, periods);
    await fill(root, present);
    if (removedList !== undefined) await Deno.remove(`${root}/.degu-kept/${removedList}`);
    const target = homes.joinPath("new directory");
    const args = ["restore", `${root}/${dir}`, target];
    const { code, stdout, stderr } = await homes.run("desk", args);
    assertEquals(code, 0, stderr);
    assert(stderr.endsWith(earlier), stderr);
    const commands = stdout.split("\n").filter((line) => line.startsWith("  degu "));
    const words = commands.map(parseShellWords);
    assertEquals(words.map((each) => each[5]), [...listed]);
    assertEquals(
      stdout.split("\n").filter((line) => line.includes(" of this hour")).join().trim(),
      others,
    );
    for (const each of words) {
      await homes.runToSuccess("desk", each.slice(3));
      assert(Object.values(await readTree(target)).length > 0);
      await Deno.remove(target, { recursive: true });
    }
  });
}

function parseShellWords(line: string): string[] {
  return Array.from(
    line.matchAll(/(?:'[^']*'|\\.|[^\s'\\])+/g),
    ([word]) => word.replaceAll(/'([^']*)'|\\(.)/g, (_, quoted, escaped) => quoted ?? escaped),
  );
}

Deno.test("restore needs no NEW to list states or to print the files of one", async () => {
  await using homes = await AgentHomes.create();
  const root = homes.joinPath("Inbox");
  await fillPeriods(root, { "2026-01-31T13_3": [["d/a"]] });
  // A directory of a likely name isn't looked at.
  await fill(homes.path, { "Inbox-restored/other": "1", "NEW/other": "1" });
  const run = (...args: string[]) => homes.run("desk", ["restore", ...args]);
  for (const dir of [root, `${root}/d`]) {
    const { code, stdout, stderr } = await run(dir);
    assertEquals(code, 0, stderr);
    const [, command = ""] = stdout.split("\n");
    const words = parseShellWords(command);
    assertEquals(words.slice(-4), ["--at", "2026-01-31T13_3", dir, "NEW"]);
    const plan = await run("--dry-run", "--at", "2026-01-31T13_3", dir);
    assertEquals(plan.code, 0, plan.stderr);
    assertStringIncludes(plan.stdout, "would restore ");
    assertMatch(plan.stderr, /1 file would be restored, \d+ B, as it was before 2026-01-31T13_3\n/);
  }
  const message = "name the new directory after DIR";
  await homes.runToFailure("desk", 2, message, ["restore", "--at", "2026-01-31T13_3", root]);
});

Deno.test("restore without --at prints the paths of all versions of a file, and how to copy one", async () => {
  await using homes = await AgentHomes.create();
  const root = homes.joinPath("Anna's files");
  await fillPeriods(root, {
    "2026-01-31T11_1": [["d/a"]],
    "2026-01-31T12_2": [["d/b"]],
    "2026-01-31T13_3": [["d/a"], "d/other"],
    "2026-01-31T13_4": [["d/a"]],
  });
  const versions = [4, 3, 1].map((number) => {
    return `${root}/.degu-kept/2026-01-31T1${number === 1 ? 1 : 3}_${number}/d/a`;
  });
  const newPath = homes.joinPath("new");
  for (const present of [{}, { "d/a": "present" }]) {
    await fill(root, present);
    const file = `${root}/d/a`;
    for (const args of [[file], [file, newPath]]) {
      const { stdout, stderr } = await homes.run("desk", ["restore", ...args]);
      assertEquals(stdout.trimEnd().split("\n"), versions);
      const [, command = ""] = stderr.trimEnd().split("to a name that is not there: ");
      assertEquals(parseShellWords(command), ["cp", "-p", versions[0], "NEW"]);
    }
    const at = ["--at", "2026-01-31T13_3"];
    const message = "without --at, degu restore lists what can be restored\n";
    const code = "d/a" in present ? 2 : 1;
    await homes.runToFailure("desk", code, message, ["restore", ...at, file, newPath]);
  }
  await fill(root, { "d/other": "1", "d/othe": "1" });
  for (const name of ["other", "othe"]) {
    const message = `no versions are kept of "${root}/d/${name}"; "${root}" has some\n`;
    await homes.runToFailure("desk", 1, message, ["restore", `${root}/d/${name}`]);
  }
});

Deno.test("restore without --at fails if no version is kept of a directory", async () => {
  await using homes = await AgentHomes.create();
  const root = homes.joinPath("Inbox");
  await fillPeriods(root, { "2026-01-31T11_1": [[], "d/a"] });
  await fill(root, { "d/a": "", "e": null });
  const restoring = (dir: string) => ["restore", `${root}/${dir}`, homes.joinPath("new")];
  await homes.runToFailure(
    "desk",
    1,
    `no versions are kept of "${root}/e"; "${root}" has some\n`,
    restoring("e"),
  );
  const empty = `no file was in "${root}/d" before 2026-01-31T11`;
  await homes.runToFailure("desk", 1, `${empty}\n`, restoring("d"));
  const version = `${root}/.degu-kept/2026-01-31T11_1/d`;
  await Deno.mkdir(version);
  await homes.runToFailure("desk", 1, `${empty}\n`, restoring("d"));
  await fill(version, { a: "" });
  const message = `${empty}; other versions are in "${version}"\n`;
  await homes.runToFailure("desk", 1, message, restoring("d"));
});

Deno.test("restore without --at names the versions of files that none of its states may have", async () => {
  await using homes = await AgentHomes.create();
  const root = homes.joinPath("Inbox");
  // One change has deleted b and then c, which had a version in the first period.
  await fillPeriods(root, {
    "2026-01-31T11_1": [["d/b", "d/c"], "d/b", "d/c"],
    "2026-01-31T11_2": [["d/c"]],
  });
  await fill(root, { d: null });
  const args = ["restore", `${root}/d`, homes.joinPath("new")];
  const { code, stdout, stderr } = await homes.run("desk", args);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "2026-01-31T11_2: 1 file, ");
  const version = `${root}/.degu-kept/2026-01-31T11_1/d`;
  const note = `other versions are in "${version}": they may be in none of these states`;
  assertStringIncludes(stderr, note);
});

Deno.test("a time without earlier versions is refused", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  const target = homes.joinPath("restored");
  const args = (time: string) => ["restore", "--at", time, `${kept}/Documents`, target];
  const message =
    "there are no earlier versions of 2020-01-31T14; without --at, degu restore lists";
  await homes.runToFailure("desk", 1, message, args("2020-01-31T14:00"));
});

for (const [time, message] of WRONG_TIMES) {
  Deno.test(`restore --at ${JSON.stringify(time)} prints what to type: ${message}`, async () => {
    const { code, stderr } = await runAgentInProcess(["restore", "--at", time, "a", "b"]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, "--at: ");
    assertStringIncludes(stderr, message);
  });
}

Deno.test("the seconds of a time are ignored", () => {
  const time = parseRestoreTime("2026-01-31T14:00");
  for (const seconds of [":00", ":30", ":59.123"]) {
    assertEquals(parseRestoreTime(`2026-01-31T14:00${seconds}`), time);
  }
  assertThrows(() => parseRestoreTime("2026-01-31T14:00:60"));
});

Deno.test("restore refuses directories from which it can't restore, and prints what to do", async () => {
  await using devices = await setUp();
  const { homes, kept, inbox, documents, sync } = devices;
  await fill(documents, { a: "1" });
  await sync();
  using _clock = setClockAhead(DAY + HOUR);
  const target = homes.joinPath("new");
  const versions = `${kept}/.degu-kept`;
  await using plain = await createTempDir();
  const rows: readonly (readonly [code: number, message: string, dir: string, target: string])[] = [
    [2, "or write ./desk:Documents\n", "desk:Documents", target],
    [2, '"desk:new" is at a peer: run degu restore there, or write ./desk:new', kept, "desk:new"],
    [2, "is in the directory that is restored, or among its versions", kept, `${kept}/new`],
    [1, "no versions are kept of ", plain.path, target],
    [1, `no versions are kept of "${inbox}"; "${kept}" has some\n`, inbox, target],
    [1, `no versions are kept of "${versions}"; "${kept}" has some\n`, versions, target],
    [1, `on this device: mkdir -p ${target}/missing\n`, kept, `${target}/missing/new`],
    [1, "and no earlier versions are kept of it", target, kept],
    [2, "is a file: without --at, degu restore lists", `${kept}/Documents/a`, target],
    [2, "is in the directory that is restored", `${kept}/gone`, `${kept}/gone/new`],
    [1, "exists, and is not empty: name a new directory", kept, documents],
    [1, "is an inbox of this device", kept, `${kept}-restored`],
    [1, "is the directory of the device", homes.joinPath("desk"), target],
  ];
  const restore = ["restore", "--at", formatHour(new Date(Date.now() - DAY))];
  for (const [code, message, dir, newDirectory] of rows) {
    await homes.runToFailure("desk", code, message, [...restore, dir, newDirectory]);
  }
});

Deno.test("restore --at says what the list says if there is nothing to list", async () => {
  await using homes = await AgentHomes.create();
  const root = homes.joinPath("Inbox");
  await fillPeriods(root, {
    "2026-01-31T11_1": [[], "d/a"],
    "2026-01-31T12_2": [[], "e/b"],
    "2026-01-31T13_3": [["e/b"]],
  });
  await fill(root, { "d/a": "", "e/b": "", f: null });
  const version = `${root}/.degu-kept/2026-01-31T11_1/d`;
  await fill(version, { a: "" });
  const none = `no file was in "${root}/d" before 2026-01-31T11`;
  const rows: [dir: string, message: string][] = [
    ["d", `${none}; other versions are in "${version}"\n`],
    ["e", "; without --at, degu restore lists what can be restored\n"],
    ["f", `no versions are kept of "${root}/f"; "${root}" has some\n`],
    ["g", `there is no directory "${root}/g", and no earlier versions are kept of it\n`],
  ];
  for (const [dir, message] of rows) {
    const args = ["restore", "--at", "2026-01-31T11_1", `${root}/${dir}`, homes.joinPath("new")];
    await homes.runToFailure("desk", 1, message, args);
    assertEquals((await homes.run("desk", args)).stdout, "");
  }
});
