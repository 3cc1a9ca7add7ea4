/** degu restore: a directory of the inbox as it was at a time. */
import { formatRestoreTime, parseRestoreTime } from "@degu/internal/agent/restore_time.ts";
import { parseCommands } from "@degu/testing/agent_documentation.ts";
import { parseObjects } from "@degu/testing/agent_files.ts";
import { AgentHomes, runAgentInProcess } from "@degu/testing/agents.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { readProjectFile } from "@degu/testing/tree.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A file of this size is renamed at the other device as well. */
const MOVED = "moved".repeat(20_000);

/** A day on which each hour exists once, in each zone. */
const WRONG_TIMES: readonly (readonly [time: string, message: string])[] = [
  ["yesterday", "must be a day and an hour, as in 20"],
  ["2026-01-31", "write the hour after the day, as in 2026-01-31T14:00"],
  ["2026-01-31T24:30", "exist"],
  ["2026-02-30T14:00", "this local time doesn't exist"],
  ["2999-01-31T14:00", "must not be in the future, as in 20"],
];

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
  const { homes, kept, inbox } = devices;
  const before = await readTree(kept);
  const target = homes.joinPath("restored");
  const args = ["restore", `${kept}/Documents`, target];
  const plan = await homes.run("desk", [...args, "--dry-run"]);
  assertEquals(plan.code, 0, plan.stderr);
  const lines = plan.stdout.trimEnd().split("\n").map((line) =>
    line.replace(/version \S+/, "version").replace(/ \d{4}-.*/, "")
  );
  assertEquals(lines.sort(), [
    "not restored: read me: it was not there",
    "not restored: renamed: it was not there",
    "would restore d/deleted: version",
    "would restore d/stays: the present file",
    "would restore letter: version",
    "would restore old: the present file",
  ]);
  assertMatch(
    plan.stderr,
    /^would restore .*\/Documents as it was at \d{4}-\d\d-\d\dT\d\d:00[+-]\d\d:\d\d\n/,
  );
  assertMatch(plan.stderr, /\n4 files would be restored, 100 kB: .* as it was at /);
  assertEquals([...Deno.readDirSync(homes.path)].some(({ name }) => name === "restored"), false);
  const { code, stderr } = await homes.run("desk", args);
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /\n4 files restored, 100 kB: /);
  assertEquals(await readTree(target), GOOD);
  assertEquals(await readTree(kept), before);
  const json = await homes.run("desk", ["--json", "restore", `${kept}/Documents`, `${inbox}/json`]);
  const objects = parseObjects(json);
  const letter = objects.find(({ path }) => path === "letter")!;
  assertMatch(`${letter.version}`, /^\d{4}-\d\d-\d\d\/\d\d_laptop$/);
  assertEquals([letter.action, letter.size, letter.doubt], ["restore", 4, null]);
  assertEquals(objects.filter(({ action }) => action === "leave").length, 2);
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
      word.replace("2026-01-31T14:00", formatRestoreTime(at)).replace(/^~/, homes.path)
    );
    await homes.runToSuccess(machine === "new" ? "laptop-2" : machine, words);
  }
}

Deno.test("a directory is restored by the page alone", async () => {
  await using devices = await setUpWrongDay();
  const { homes, documents, kept } = devices;
  const at = new Date(Date.now() - DAY);
  await runSection("A directory", { homes, at });
  assertEquals(await readTree(homes.joinPath("Documents-restored")), GOOD);
  assert((await readTree(documents))["read me"] === "pay");
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

Deno.test("restore continues an interrupted restore, and names the time of another one", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  const target = homes.joinPath("restored");
  const at = formatRestoreTime(new Date(Date.now() - DAY));
  const args = (time: string) => ["restore", "--at", time, `${kept}/Documents`, target];
  const marker = {
    dir: await Deno.realPath(`${kept}/Documents`),
    at: new Date(at).toISOString(),
  };
  await fill(target, { "d/stays": "2", ".restore.degu-part": JSON.stringify(marker) });
  const { mtime } = await Deno.stat(`${kept}/Documents/d/stays`);
  await Deno.utime(`${target}/d/stays`, mtime!, mtime!);
  const other = formatRestoreTime(new Date(Date.now() - DAY + HOUR));
  const failure = await homes.runToFailure("desk", 1, "has an unfinished restore of", args(other));
  assertStringIncludes(failure, `continue it with --at ${at}, or name a new directory`);
  const { code, stderr } = await homes.run("desk", args(at));
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /\n3 files restored, 100 kB; 1 restored earlier: /);
  assertEquals(await readTree(target), GOOD);
  await homes.runToFailure("desk", 1, "exists: name a new directory", args(at));
});

Deno.test("a time without lines is a warning before the plan", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  for (const { name } of Deno.readDirSync(`${kept}/.degu-kept`)) {
    await Deno.remove(`${kept}/.degu-kept/${name}/namings.jsonl`);
  }
  const args = ["restore", "--dry-run", kept, homes.joinPath("restored")];
  const { stderr } = await homes.run("desk", args);
  assertMatch(
    stderr,
    /^would restore .*\ndegu: warning: until now, no lines tell of changes, so the times of the files decide: /,
  );
});

Deno.test("a file whose version was removed is an error, and the others are restored", async () => {
  await using devices = await setUpWrongDay();
  const { homes, kept } = devices;
  const versions = Object.keys(await readTree(`${kept}/.degu-kept`));
  const version = versions.find((path) => path.endsWith("/letter"))!;
  await Deno.remove(`${kept}/.degu-kept/${version}`);
  const target = homes.joinPath("restored");
  const message = "not restored: Documents/letter: its version was removed, or was not kept";
  await homes.runToFailure("desk", 1, message, ["restore", kept, target]);
  assertEquals((await readTree(target))["Documents/old"], MOVED);
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
  const time = parseRestoreTime("2026-01-31T14:30");
  for (const seconds of [":00", ":30", ":59.123"]) {
    assertEquals(parseRestoreTime(`2026-01-31T14:30${seconds}`), time);
  }
  assertThrows(() => parseRestoreTime("2026-01-31T14:30:60"));
});

Deno.test("restore refuses directories from which it can't restore, and prints what to do", async () => {
  await using devices = await setUp();
  const { homes, kept, inbox, documents, sync } = devices;
  await fill(documents, { a: "1" });
  await sync();
  const target = homes.joinPath("new");
  await using plain = await createTempDir();
  const rows: readonly (readonly [code: number, message: string, dir: string, target: string])[] = [
    [2, "run degu restore on the device that keeps the versions", "desk:Documents", target],
    [2, "run degu restore on the device that keeps the versions", kept, "desk:new"],
    [2, "name a new directory outside, as ", kept, `${kept}/new`],
    [1, "no earlier versions are kept of ", plain.path, target],
    [1, "no earlier versions are kept of ", inbox, target],
    [1, "there is no directory ", kept, `${target}/missing/new`],
    [1, "the directory to restore comes first", target, kept],
    [1, "is a file: name its directory, ", `${kept}/Documents/a`, target],
    [1, "exists: name a new directory", kept, documents],
    [1, "is the directory of the device", homes.joinPath("desk"), target],
  ];
  for (const [code, message, dir, newDirectory] of rows) {
    await homes.runToFailure("desk", code, message, ["restore", dir, newDirectory]);
  }
  const missing = ["restore", `${kept}/Documents/missing`, target];
  await homes.runToFailure("desk", 1, "no file was in ", missing);
});
