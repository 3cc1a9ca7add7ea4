/** Paths on the command line: what a shell shows behind them is what a command uses. */
import { AgentHomes, runAgentInProcess } from "@degu/testing/agents.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { type Random, withRandom } from "@degu/testing/random.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { basename, dirname, relative, resolve } from "node:path";

/** The operands of each kind of command; each list has the path `path`. */
const listCommands = (path: string, other: string): readonly string[][] => [
  ["put", path, "desk:"],
  ["put", "-r", other, path, "desk:"],
  ["get", "desk:a", path],
  ["sync", "--delete", "desk:", path],
  ["sync", "--move", path, "desk:"],
  ["restore", path],
  ["restore", "--at", "2020-01-01T09_1", other, path],
  ["send", path],
  ["receive", path],
  ["serve", "--share", path],
  ["serve", "--inbox", path],
  ["serve", "--inbox-for-all", path],
];

Deno.test("a path in which .. follows a link, or no directory, is refused by each command", async (t) => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  const disk = homes.joinPath("disk");
  await fill(disk, { "far/deep/a": "1", "far/data/b": "2", "near/data/c": "3", "near/dir/d": "4" });
  await makeLinks({
    [`${disk}/near/link`]: "../far/deep",
    [`${disk}/near/to-link`]: "link",
    [`${disk}/near/to-file`]: "data/c",
    [`${disk}/near/to-nothing`]: "nothing",
  });
  const treeBefore = await readTree(homes.path);
  const refuse = async (path: string, component: string) => {
    const commands = listCommands(path, `${disk}/near/data`);
    const services = [["--share", path], ["sync", "desk:", path], ["sync", path, "desk:"]]
      .map((args) => ["service", "install", "--print", ...args]);
    const permitted = commands.map((args) => ["permissions", ...args]);
    for (const args of [...commands, ...permitted, ...services, ["--home", path, "id"]]) {
      const { code, stderr } = await homes.run("laptop", args);
      assertEquals(code, 2, `${args.join(" ")}: ${stderr}`);
      assertStringIncludes(stderr, `${JSON.stringify(component)} before ".." is a link`);
    }
  };
  const rows: [path: string, component: string][] = [
    ["link/../data", "link"],
    ["link/..", "link"],
    ["./dir/..//link/./../data/", "dir/../link"],
    ["dir/../to-link/../data", "dir/../to-link"],
    ["link/sub/../../data", "link/sub"],
    ["../near/link/../../near/data", "../near/link"],
    ["to-file/../data", "to-file"],
    ["data/c/../c", "data/c"],
    ["to-nothing/../data", "to-nothing"],
    ["missing/../data", "missing"],
  ];
  await testEachRow(t, rows, async (path, component) => {
    const prefix = `${disk}/near`;
    const shown = resolve(prefix, component);
    await refuse(`${prefix}/${path}`, shown);
    const toPrefix = relative(Deno.cwd(), prefix);
    await refuse(`${toPrefix}/${path}`, relative(Deno.cwd(), shown));
  });
  assertEquals(await readTree(homes.path), treeBefore);
});

const notWindows = { ignore: Deno.build.os === "windows" };

Deno.test("a --home that the shell has not expanded is refused", notWindows, async () => {
  for (const args of [["--home=~/b", "init"], ["--home", "~", "id"], ["id", "--home=~/b"]]) {
    const { code, stderr } = await runAgentInProcess(args);
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, "the shell has not expanded ~; a file of this name is ./~");
  }
});

/** Directories, files whose text is their path, and links to both. */
const FILES = ["a/1", "a/sub/2", "a/sub/deep/3", "b/4", "b/sub/5", "c/d/e/6", "c/7"];
const LINKS = {
  "a/up": "../b/sub",
  "b/to-a": "../a/sub/deep",
  "b/sub/to-c": "../../c/d",
  "c/d/to-up": "../../a/up",
  "c/to-file": "../a/1",
  "c/to-nothing": "nothing",
};
const NAMES = ["a", "b", "c", "d", "e", "sub", "deep", "up", "to-a", "to-c", "to-up", "to-file"]
  .concat("to-nothing", "new", "1", "4", ".", "..", "..", "..", "..", "");

function makeOperand(random: Random): string {
  const start = random.pick(["a", "b", "c", "a/up", "b/sub/to-c", "b/to-a", "c/d/to-up", "c/d/e"]);
  return [start, ...Array.from({ length: 1 + random.integer(4) }, () => random.pick(NAMES))]
    .join("/");
}

/** Returns the real path that a shell finds, or in which it creates directories; else an empty text. */
async function findShellPath(path: string): Promise<string> {
  const line = 'realpath -- "$0" 2> /dev/null || :';
  const realPath = (await runOrThrow(["bash", "-c", line, path])).replace(/\n$/, "");
  const name = basename(path);
  if (realPath !== "" || name === "..") return realPath;
  const parent = await findShellPath(dirname(path));
  return parent === "" || name === "." ? parent : `${parent}/${name}`;
}

const isBelow = (path: string, dir: string) => path === dir || path.startsWith(`${dir}/`);

const COUNT = 6;

Deno.test(
  "a command uses and changes only what a shell shows behind its operand",
  withRandom(async (random) => {
    await using homes = await AgentHomes.create("laptop", "desk", "other");
    await homes.pair("laptop", "desk");
    await homes.pair("other", "laptop");
    const disk = await Deno.realPath(homes.path).then((path) => `${path}/disk`);
    await fill(homes.path, { "share/1": "new", "share/fresh": "new", "inbox": null });
    const directories = ["--share", homes.joinPath("share"), "--inbox", homes.joinPath("inbox")];
    await homes.serve("desk", directories, "laptop");
    const reset = async () => {
      await Deno.remove(disk, { recursive: true }).catch(() => {});
      const files = FILES.map((path) => `${disk}/${path}`);
      await fill("", Object.fromEntries(files.map((path) => [path, path])));
      await fill(disk, {
        ".degu-kept/2020-01-01T09_1/gone": `${disk}/gone`,
        ".degu-kept/1.new": '"2020-01-01T09_1"',
      });
      await makeLinks(
        Object.fromEntries(Object.entries(LINKS).map(([path, to]) => [`${disk}/${path}`, to])),
      );
      return await readTree(disk);
    };
    /** Fails if a file of a directory is not from below a path. */
    const assertFrom = async (dir: string, shellPath: string, label: string) => {
      const texts = Object.values(await readTree(dir).catch(() => ({})));
      for (const text of texts.filter((text) => text !== null && text !== "a link")) {
        assert(shellPath !== "" && isBelow(text!, shellPath), `${label}: ${text} was used`);
      }
    };
    let usedCount = 0;
    for (let i = 0; i < COUNT; i++) {
      const operand = makeOperand(random);
      const path = random.chance(0.5)
        ? `${disk}/${operand}`
        : `${relative(Deno.cwd(), disk)}/${operand}`;
      await reset();
      const shellPath = await findShellPath(path);
      // The test leaves the rest of the machine alone, also if a command is wrong.
      if (![shellPath || disk, resolve(path)].every((each) => isBelow(each, disk))) continue;
      const commands: [args: string[], received: string | null][] = [
        [["put", "-r", path, `desk:put-${i}/`], homes.joinPath("inbox/laptop", `put-${i}`)],
        [["sync", path, `desk:sync-${i}`], homes.joinPath("inbox/laptop", `sync-${i}`)],
        [["get", "--force", "desk:1", path], null],
        [["sync", "--delete", "--delete-all", "desk:", path], null],
        [["restore", "--at", "2020-01-01T09_1", `${disk}/a`, path], null],
        [
          ["restore", "--at", "2020-01-01T09_1", path, homes.joinPath(`restored-${i}`)],
          homes.joinPath(`restored-${i}`),
        ],
      ];
      for (const [args, received] of commands) {
        const treeBefore = await reset();
        const { code, stderr } = await homes.run("laptop", args);
        const label = `${args.join(" ")} (${shellPath}): ${stderr}`;
        if (code === 0) usedCount++;
        if (received !== null) await assertFrom(received, shellPath, label);
        const tree = await readTree(disk);
        for (const name of new Set([...Object.keys(treeBefore), ...Object.keys(tree)])) {
          if (treeBefore[name] === tree[name]) continue;
          const isTarget = shellPath !== "" && received === null;
          const changedPath = `${disk}/${name}`;
          const isNewParent = treeBefore[name] === undefined && isBelow(shellPath, changedPath);
          assert(
            isTarget && (isNewParent || isBelow(changedPath, shellPath)),
            `${label}: ${name} was changed`,
          );
        }
      }
      const share = homes.start("laptop", [
        ...["serve", "--listen", "127.0.0.1:0", "--json", "--no-announce", "--share", path],
      ]);
      const [printed = ""] = (await Promise.race([
        share.waitForLine().catch(() => ""),
        share.waitForEnd().then(({ stdout }) => stdout),
      ])).split("\n");
      const { addresses: [address] = [] } = JSON.parse(printed || "{}");
      if (address !== undefined) {
        const target = homes.joinPath(`got-${i}`);
        const get = ["get", "-r", "--address", address, "laptop:", target];
        await homes.runToSuccess("other", get);
        await assertFrom(target, shellPath, `serve --share ${path} (${shellPath})`);
        share.kill("SIGINT");
        await share.waitForEnd();
      }
    }
    assert(usedCount > 0);
  }),
);
