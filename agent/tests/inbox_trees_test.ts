/** Inboxes inside directories that are copied: they are other devices' files, and are left out. */
import { existsSync } from "node:fs";
import { AgentFiles } from "./agent_files.ts";
import { AgentHomes } from "@degu/testing/agents.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill, listNames, readTree } from "@degu/testing/directories.ts";
import { type Random, withRandom } from "@degu/testing/random.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { assertEquals, assertMatch } from "@std/assert";

/** Without this, `--move` doesn't remove files that tests have just written. */
const AHEAD = 10_000;

/** The texts of the files below a directory, without those in reserved directories. */
async function textsIn(dir: string): Promise<Map<string, string>> {
  const entries = Object.entries(await readTree(dir)).flatMap(([path, text]) =>
    text === null || path.includes(".degu-") ? [] : [[path, text] as const]
  );
  return new Map(entries);
}

function listSkippedInboxes(stderr: string): string[] {
  const pattern = /^degu: warning: (.*): skipped: an inbox, since it contains \.degu-files$/gm;
  return Array.from(stderr.matchAll(pattern), ([, path]) => path!);
}

// Random trees of several devices.

interface Machine {
  readonly name: string;
  /** The path of the inbox below the directory that the machine copies. */
  readonly inbox: string;
  readonly isForAll: boolean;
}

const INBOX_PATHS = ["Inbox", "p/Inbox", "p/q/Inbox"];
const DIRECTORIES = ["", "p/", "q/", "p/q/", "Inbox/", "p/Inbox/", "p/q/Inbox/"];
let madeFileCount = 0;

/** Makes files of different sizes, so that all of them differ. No file has the name of a directory. */
function makeRandomTree(random: Random): Record<string, string> {
  const paths = Array.from(
    { length: random.integer(6) },
    () => `${random.pick(DIRECTORIES)}${random.pick(["a", "b", "c"])}`,
  );
  return Object.fromEntries(paths.map((path) => [path, "x".repeat(++madeFileCount)]));
}

class Machines {
  readonly #homes: AgentHomes;
  readonly #machines: readonly Machine[];

  constructor(homes: AgentHomes, machines: readonly Machine[]) {
    this.#homes = homes;
    this.#machines = machines;
  }

  #path(...names: string[]): string {
    return this.#homes.joinPath("disks", ...names);
  }

  async start(random: Random): Promise<void> {
    const names = this.#machines.map(({ name }) => name);
    await this.#homes.init(...names);
    for (const [i, name] of names.entries()) {
      for (const peer of names.slice(i + 1)) await this.#homes.pair(name, peer);
    }
    for (const { name, inbox, isForAll } of this.#machines) {
      await fill(this.#path(name), { [`work/${inbox}`]: null, "share": null });
      await this.addFiles(random, name);
      await fill(this.#path(name, "share"), makeRandomTree(random));
      const inboxArgs = [isForAll ? "--inbox-for-all" : "--inbox", this.#path(name, "work", inbox)];
      const serveArgs = ["--share", this.#path(name, "share"), ...inboxArgs];
      await this.#homes.serve(name, serveArgs, ...names.filter((peer) => peer !== name));
    }
  }

  /** Adds files outside of the inbox. */
  async addFiles(random: Random, name: string): Promise<void> {
    const { inbox } = this.#machines.find((machine) => machine.name === name)!;
    const paths = Object.entries(makeRandomTree(random));
    const own = paths.filter(([path]) => !path.startsWith(`${inbox}/`));
    await fill(this.#path(name, "work"), Object.fromEntries(own));
  }

  /** Copies with one command, and compares the files of all machines with what must be there. */
  async copy(random: Random, machine: Machine, peer: Machine, kind: string): Promise<void> {
    const { name, inbox } = machine;
    const work = this.#path(name, "work");
    const inboxOfPeer = `${peer.name}/work/${peer.inbox}${peer.isForAll ? "" : `/${name}`}`;
    const isUpload = kind.startsWith("to");
    const remote = isUpload
      ? `${inboxOfPeer}/${kind.slice("to ".length)}`
      : kind === "from copy"
      ? `${inboxOfPeer}/copy`
      : `${peer.name}/share`;
    const mayDelete = kind !== "to work" && kind !== "to moved" && random.chance(0.5);
    const isDryRun = kind !== "to work" && random.chance(0.2);
    const options = [
      ...mayDelete ? ["--delete", "--delete-all"] : [],
      ...isDryRun ? ["--dry-run"] : [],
    ];
    const isThere = async (path: string) => (await Deno.stat(path).catch(() => null)) !== null;
    if (!isUpload && !await isThere(this.#path(remote))) return;
    const isListed = isUpload || mayDelete || await isThere(this.#path(remote, inbox));
    const commands: Record<string, string[]> = {
      "to work": ["put", "-r", "--force", work, `${peer.name}:`],
      "to copy": ["sync", ...options, work, `${peer.name}:copy`],
      "to moved": ["sync", "--move", ...options, work, `${peer.name}:moved`],
      "from copy": ["sync", "--inbox", ...options, `${peer.name}:copy`, work],
      "from share": ["sync", ...options, `${peer.name}:`, work],
      "from share, by get": ["get", "-r", "--force", `${peer.name}:`, work],
    };
    if (kind === "from share, by get" && (mayDelete || isDryRun)) return;

    const expected = await textsIn(this.#path());
    const [from, to] = isUpload ? [`${name}/work`, remote] : [remote, `${name}/work`];
    const isLeftOut = (path: string, dir: string) => path.startsWith(`${dir}/${inbox}/`);
    const listIn = (dir: string) =>
      [...expected].filter(([path]) => path.startsWith(`${dir}/`) && !isLeftOut(path, dir));
    const sources = listIn(from);
    if (!isDryRun) {
      if (mayDelete) { for (const [path] of listIn(to)) expected.delete(path); }
      for (const [path, text] of sources) expected.set(to + path.slice(from.length), text);
      if (kind === "to moved") { for (const [path] of sources) expected.delete(path); }
    }
    for (let run = 1; run <= 2; run++) {
      const { code, stderr } = await this.#homes.run(name, commands[kind]!);
      const command = `${name}: ${commands[kind]!.join(" ")}: ${stderr}`;
      assertEquals(code, 0, command);
      assertEquals(listSkippedInboxes(stderr), isListed ? [`${work}/${inbox}`] : [], command);
      const sort = (texts: Map<string, string>) => [...texts].toSorted();
      assertEquals(sort(await textsIn(this.#path())), sort(expected), command);
    }
  }
}

const KINDS = ["to work", "to copy", "to moved", "from copy", "from share", "from share, by get"];

for (const count of [2, 3]) {
  Deno.test(
    `${count} devices with inboxes in what they copy: no command sends, replaces, nests or deletes files of another device`,
    withRandom(async (random) => {
      using _clock = setClockAhead(AHEAD);
      for (let run = 0; run < 2; run++) {
        await using homes = await AgentHomes.create();
        const names = ["anna", "berta", "clara"].slice(0, count);
        const list = names.map((name): Machine => {
          return { name, inbox: random.pick(INBOX_PATHS), isForAll: random.chance(0.5) };
        });
        const machines = new Machines(homes, list);
        await machines.start(random);
        for (const machine of list) {
          for (const peer of list) {
            if (peer !== machine) await machines.copy(random, machine, peer, "to work");
          }
        }
        for (let i = 0; i < 8; i++) {
          const [machine, peer] = random.shuffle(list) as [Machine, Machine];
          if (random.chance(0.5)) await machines.addFiles(random, machine.name);
          await machines.copy(random, machine, peer, random.pick(KINDS));
        }
      }
    }),
  );
}

for (const inboxOption of ["--inbox", "--inbox-for-all"]) {
  Deno.test(`two devices that back up each other's home do not nest: ${inboxOption}`, async () => {
    await using homes = await AgentHomes.create("desk", "laptop");
    await homes.pair("desk", "laptop");
    const rows = [["desk", "laptop"], ["laptop", "desk"]] as const;
    for (const [name, peer] of rows) {
      const files = { [`of-${name}`]: name, "Documents/letter": `letter of ${name}` };
      await fill(homes.joinPath("users", name), { ...files, "Inbox": null });
      await homes.serve(name, [inboxOption, homes.joinPath("users", name, "Inbox")], peer);
    }
    let first: unknown;
    for (let night = 1; night <= 5; night++) {
      for (const [name, peer] of rows) {
        const home = homes.joinPath("users", name);
        await homes.runToSuccess(name, ["sync", "--delete", home, `${peer}:home`]);
        await homes.runToSuccess(name, ["put", "-r", home, `${peer}:`]);
      }
      const texts = [...await textsIn(homes.joinPath("users"))];
      first ??= texts;
      assertEquals(texts, first);
      assertEquals(texts.length, 2 * (2 + 2 + 2));
    }
  });
}

// Single cases. The device of the commands has the inbox `tree/Inbox`, with a file of a phone.

const OTHERS = { "tree/Inbox/.degu-files/owner-phone": "{}", "tree/Inbox/phone/photo": "of phone" };
const OWN = { "tree/a": "1", "tree/d/b": "2" };

async function setUp(): Promise<AgentFiles> {
  const files = await AgentFiles.start();
  await fill(files.local, { ...OTHERS, ...OWN });
  return files;
}

/** Runs a command, and returns its warnings, and what it has put into the inbox of the camera. */
async function runUpload(files: AgentFiles, ...args: string[]) {
  const { stderr } = await files.runToSuccess(...args);
  return {
    inboxes: listSkippedInboxes(stderr),
    texts: Object.fromEntries(await textsIn(files.inbox)),
  };
}

Deno.test("an inbox, or a directory in one, that the command line names is copied", async (t) => {
  await using files = await setUp();
  const { local, inbox, share } = files;
  const rows: [rule: string, args: string[], copied: Record<string, string>][] = [
    ["put of an inbox", ["put", "-r", `${local}/tree/Inbox`, "camera:"], {
      "Inbox/phone/photo": "of phone",
    }],
    ["sync of an inbox", ["sync", `${local}/tree/Inbox/.`, "camera:s"], {
      "s/phone/photo": "of phone",
    }],
    ["a directory in it", ["put", "-r", `${local}/tree/Inbox/phone`, "camera:"], {
      "phone/photo": "of phone",
    }],
  ];
  // An upload to an inbox makes the reserved directory in the directory of the peer.
  await fill(local, { "tree/Inbox/phone/.degu-files": null });
  await testEachRow(t, rows, async (_rule, args, copied) => {
    assertEquals(await runUpload(files, ...args), { inboxes: [], texts: copied });
    for await (const { name } of Deno.readDir(inbox)) {
      if (name !== ".degu-files") await Deno.remove(`${inbox}/${name}`, { recursive: true });
    }
  });
  await t.step("the target of a mirror", async () => {
    await fill(share, { "from/phone/photo": "replaced" });
    const target = `${local}/tree/Inbox/phone`;
    const { stderr } = await files.runToSuccess("sync", "--delete", "camera:from/phone", target);
    assertEquals(listSkippedInboxes(stderr), []);
    assertEquals(await readTree(target), { "photo": "replaced" });
    await files.runToSuccess("get", "-r", "camera:from", target);
    assertEquals(await readTree(target), {
      "from": null,
      "from/phone": null,
      "from/phone/photo": "replaced",
      "photo": "replaced",
    });
  });
});

const INBOXES = {
  "an inbox with directories of peers": OTHERS,
  "an inbox before its first peer, or for all": {
    "tree/Inbox/.degu-files": null,
    "tree/Inbox/phone/photo": "of phone",
  },
};
/** The operands of a target below a directory, and whether the copy would write to its inbox. */
const TARGETS: readonly (readonly [path: string, sources: string[], isRefused: boolean])[] = [
  ["tree/Inbox", ["from", "Inbox", "", "file"], true],
  ["tree/Inbox/.", ["from", "file"], true],
  ["tree/Inbox/", ["from", "file"], true],
  ["tree/Inbox/new", ["from", "file"], true],
  ["tree/Inbox/file", ["file"], true],
  ["tree", ["Inbox"], true],
  ["tree/.", ["Inbox"], true],
  ["tree", ["from", "file", ""], false],
  ["tree/d", ["Inbox", "from"], false],
  ["tree/Inbox/phone", ["from", "Inbox", "file"], false],
  ["tree/Inbox/phone/sub/", ["file"], false],
];

for (const [label, others] of Object.entries(INBOXES)) {
  Deno.test(
    `get, sync and restore write to no entry of ${label}, whatever their operands`,
    withRandom(async (random) => {
      await using files = await AgentFiles.start();
      const { local, share, homes } = files;
      await fill(share, {
        "from/Inbox/x": "y",
        "from/x": "y",
        "Inbox/phone/photo": "y",
        "file": "y",
      });
      await fill(homes.path, { "kept/d": null, "kept/.degu-kept/2026-01-31T13_1/d/a": "old" });
      await fill(homes.path, { "kept/.degu-kept/1.new": '"2026-01-31T13_1"' });
      const restoring = ["restore", "--at", "2026-01-31T13_1", homes.joinPath("kept/d")];
      for (const [path, sources, isRefused] of random.shuffle(TARGETS)) {
        const target = `${local}/${path}`;
        const commands = sources.flatMap((source) => {
          const get = ["get", ...random.chance(0.5) ? ["--force"] : [], "-r"];
          const sync = ["sync", ...random.chance(0.5) ? ["--delete", "--delete-all"] : []];
          // `get` makes a directory below the target, and `sync` changes the target.
          const canSync = source !== "file" && (path.startsWith("tree/Inbox") || !isRefused);
          return [
            [...get, `camera:${source}`, target],
            ...canSync ? [[...sync, `camera:${source}`, target]] : [],
          ];
        });
        if (path.startsWith("tree/Inbox/new")) commands.push([...restoring, target]);
        for (const args of commands) {
          await Deno.remove(`${local}/tree`, { recursive: true }).catch(() => {});
          await fill(local, { ...others, ...OWN, "tree/Inbox/phone/sub": null });
          const before = await readTree(`${local}/tree/Inbox`);
          const { code, stderr } = await files.run(...args);
          const command = `${args.join(" ")}: ${stderr}`;
          assertEquals(code, isRefused ? 1 : 0, command);
          if (isRefused) assertMatch(stderr, /Inbox" is an inbox of this device/, command);
          if (path.startsWith("tree/Inbox/phone")) continue;
          assertEquals(await readTree(`${local}/tree/Inbox`), before, command);
        }
      }
    }),
  );
}

Deno.test("put -r of an inbox among several operands warns that files of other devices are sent", async () => {
  await using files = await setUp();
  const { local } = files;
  const warning =
    /warning: ".*\/tree\/Inbox" is an inbox, whose files of other devices are also sent/;
  const put = ["put", "-r", `${local}/tree/a`, `${local}/tree/d`];
  const { stderr } = await files.runToSuccess(...put, `${local}/tree/Inbox`, "camera:");
  assertMatch(stderr, warning);
  for (const args of [[...put, "camera:"], ["put", "-r", `${local}/tree/Inbox`, "camera:"]]) {
    const { stderr } = await files.runToSuccess(...args);
    assertEquals(stderr.includes("are also sent"), false, stderr);
  }
});

Deno.test("an inbox in a source isn't sent, and its copy at the peer isn't deleted", async () => {
  await using files = await setUp();
  const { local, inbox } = files;
  await fill(inbox, { "tree/Inbox/phone/photo": "of an earlier run", "tree/old": "3" });
  const sent = { "tree/a": "1", "tree/d/b": "2", "tree/Inbox/phone/photo": "of an earlier run" };
  const syncArgs = ["sync", "--delete", `${local}/tree`, "camera:tree"];
  for (const options of [["--dry-run"], []]) {
    const { inboxes, texts } = await runUpload(files, ...syncArgs, ...options);
    assertEquals(inboxes, [`${local}/tree/Inbox`]);
    if (options.length === 0) assertEquals(texts, sent);
  }
  assertEquals(await textsIn(`${local}/tree/Inbox`), new Map([["phone/photo", "of phone"]]));
  const { inboxes } = await runUpload(files, ...syncArgs, "--exclude", "/Inbox/");
  assertEquals(inboxes, []);
});

Deno.test("an inbox in a target is neither written nor deleted, also if the peer has a file in its place", async (t) => {
  const rows: [rule: string, from: Record<string, string>, code: number, message: RegExp][] = [
    [
      "a directory of the same name",
      { "Inbox/phone/photo": "forged", "Inbox/x": "x" },
      0,
      /1 skipped/,
    ],
    ["no such name", {}, 0, /1 skipped/],
    ["a file", { "Inbox": "a file" }, 1, /a directory has this name at the target/],
  ];
  await testEachRow(t, rows, async (_rule, from, code, message) => {
    await using files = await setUp();
    const { local, share } = files;
    await fill(share, {
      ...Object.fromEntries(Object.entries(from).map(([path, text]) => [`from/${path}`, text])),
      "from/c": "3",
    });
    for (const options of [["--dry-run"], []]) {
      const { code: exitCode, stdout, stderr } = await files.run(
        "sync",
        "--delete",
        ...options,
        "camera:from",
        `${local}/tree`,
      );
      assertEquals(exitCode, code, stderr);
      assertMatch(stderr, message);
      assertEquals(stdout.includes("Inbox"), false, stdout);
    }
    const own = code === 0 ? {} : { "a": "1", "d": null, "d/b": "2" };
    const { "Inbox/.degu-files": _directory, "Inbox/.degu-files/owner-phone": _record, ...tree } =
      await readTree(`${local}/tree`);
    assertEquals(tree, {
      ...own,
      "Inbox": null,
      "Inbox/phone": null,
      "Inbox/phone/photo": "of phone",
      "c": "3",
    });
  });
});

Deno.test({
  name: "a link to an inbox, in a source or a target, leads to no file of the inbox",
  ignore: !HAS_LINKS,
  async fn() {
    await using files = await setUp();
    const { local, share, inbox } = files;
    await fill(local, { "links": null, "links/a": "1" });
    await makeLinks({ [`${local}/links/Inbox`]: `${local}/tree/Inbox` });
    const sent = await runUpload(files, "sync", `${local}/links`, "camera:s");
    assertEquals(sent, { inboxes: [], texts: { "s/a": "1" } });
    await fill(share, { "from/c": "3", "from/Inbox/phone/photo": "forged" });
    const syncArgs = ["sync", "--delete", "camera:from", `${local}/links`];
    const { stderr } = await files.runToSuccess(...syncArgs);
    assertEquals(listSkippedInboxes(stderr), [`${local}/links/Inbox`]);
    await Deno.remove(`${share}/from/Inbox`, { recursive: true });
    await files.runToSuccess(...syncArgs);
    assertEquals(await readTree(`${local}/links`), { "Inbox": "a link", "c": "3" });
    assertEquals(await textsIn(`${local}/tree/Inbox`), new Map([["phone/photo", "of phone"]]));
    // A link that is named is followed.
    const named = await runUpload(files, "put", "-r", `${local}/links/Inbox`, "camera:");
    assertEquals(named.inboxes, []);
    assertEquals(await Deno.readTextFile(`${inbox}/Inbox/phone/photo`), "of phone");
  },
});

Deno.test("an inbox that appears between the list and the deletions keeps the files of other devices", async () => {
  await using files = await setUp();
  const { local, share } = files;
  await fill(share, { "from/c": "3" });
  const args = ["sync", "--delete", "--verbose", "camera:from", `${local}/tree`];
  await using agent = files.start(args, {
    onText: (to) => {
      if (to !== "stdout" || existsSync(`${local}/tree/d/phone`)) return;
      Deno.mkdirSync(`${local}/tree/d/.degu-files`);
      Deno.writeTextFileSync(`${local}/tree/d/.degu-files/owner-phone`, "{}");
      Deno.mkdirSync(`${local}/tree/d/phone`);
      Deno.writeTextFileSync(`${local}/tree/d/phone/song`, "of phone");
    },
  });
  const { code, stderr } = await agent.waitForEnd();
  assertEquals(code, 1, stderr);
  const texts = Object.fromEntries(await textsIn(`${local}/tree`));
  assertEquals(texts, { "Inbox/phone/photo": "of phone", "c": "3", "d/phone/song": "of phone" });
});

Deno.test("an inbox is left out from the start of degu serve on, before its first upload", async (t) => {
  for (const option of ["--inbox", "--inbox-for-all"]) {
    await t.step(option, async () => {
      await using files = await AgentFiles.start();
      const { local, share, homes } = files;
      await fill(local, { "tree/Inbox": null, "tree/a": "1" });
      await fill(share, { "from/a": "1" });
      await homes.serve("viewer", [option, `${local}/tree/Inbox`]);
      const syncArgs = ["sync", "--delete", "camera:from", `${local}/tree`];
      const { stderr } = await files.runToSuccess(...syncArgs);
      assertEquals(listSkippedInboxes(stderr), [`${local}/tree/Inbox`]);
      assertEquals(await listNames(`${local}/tree`), ["Inbox", "a"]);
    });
  }
});
