/** degu send and degu receive: once, without pairing. */
import { DONE_URI, END_URI, findSources, Sending } from "@degu/internal/agent/sending.ts";
import { Device } from "@degu/degu/device";
import { Body } from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import type { AppFunction } from "@degu/degu/server";
import {
  AgentHomes,
  type HereOptions,
  type RunningAgent,
  spawnAgent,
} from "@degu/testing/agents.ts";
import { content, entries, fill } from "@degu/testing/directories.ts";
import { Shown } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { makeDevice } from "@degu/testing/device_pairs.ts";
import { pause } from "@degu/internal/base/pause.ts";
import { setClockAhead, stopClock } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

const TERMINAL = { terminal: { columns: 500, rows: 24 }, stdin: null };
const LOCAL = ["--listen", "127.0.0.1:0"];

/** A machine with files in src, an empty directory out, and temporary directories of its own. */
class Place implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();

  private constructor(readonly homes: AgentHomes) {}

  static async make(files: Record<string, string> = {}): Promise<Place> {
    const homes = await AgentHomes.create();
    const place = new Place(homes);
    const stack = place.#stack;
    await fill(homes.path, { tmp: null, out: null, src: null });
    await fill(homes.at("src"), files);
    stack.use(patch(Deno, "hostname", () => () => "machine.lan"));
    stack.use(
      patch(Deno, "makeTempDir", (make) => (options) => make({ ...options, dir: homes.at("tmp") })),
    );
    stack.use(homes);
    return place;
  }

  at(...names: string[]): string {
    return this.homes.at(...names);
  }

  send(names: readonly string[], options: HereOptions = {}, ...more: string[]) {
    const paths = names.map((name) => this.at("src", name));
    const shown = new Shown();
    const all = { ...options, onText: (_: string, text: string) => shown.add(text) };
    const agent = this.homes.start("state", ["send", ...LOCAL, ...more, ...paths], all);
    const nextLine = () => within(shown.next(/degu:[\w-]{60,}(?=[\n"])/), "the next line", 60);
    return Object.assign(agent, { nextLine });
  }

  receive(args: readonly string[], options: HereOptions = {}): RunningAgent {
    return this.homes.start("state", ["receive", ...args, this.at("out")], options);
  }

  /** Makes a large file in src, which takes a while to arrive. */
  async makeLarge(name: string): Promise<void> {
    await Deno.writeFile(this.at("src", name), new Uint8Array());
    await Deno.truncate(this.at("src", name), LARGE);
  }

  /** Waits until a part of a file has arrived in out. */
  async untilSomeArrived(): Promise<void> {
    for await (const { paths } of Deno.watchFs(this.at("out"))) {
      const part = paths.find((path) => path.endsWith("/.large.degu-part"));
      if (part !== undefined && (await Deno.stat(part)).size > LARGE / 10) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

const LARGE = 160 * 1024 * 1024;

async function assertEnds(agent: RunningAgent, code: number, said = ""): Promise<string> {
  const { code: ended, stdout, stderr } = await agent.ended();
  assertEquals(ended, code, stdout + stderr);
  assertStringIncludes(stdout + stderr, said);
  return stdout + stderr;
}

Deno.test("files and directories arrive as get -r copies them, both ends succeed, and nothing is left behind", async () => {
  const files = { "a b.txt": "a", "dir/sub/ü": "ü", "dir/x": "x", "other": "no" };
  await using place = await Place.make(files);
  await Deno.mkdir(place.at("src", "dir", "empty"));
  await makeLinks({ [place.at("src", "link")]: "a b.txt" });
  const sender = place.send(["a b.txt", "dir", "link"]);
  const receiver = place.receive([await sender.nextLine()]);
  const said = await assertEnds(receiver, 0, "receiving from machine ");
  assertStringIncludes(said, "4 files copied");
  assertStringIncludes(
    await assertEnds(sender, 0, "machine downloaded 4 files"),
    "sent to machine ",
  );
  assertEquals(await content(place.at("out")), {
    "a b.txt": "a",
    "dir": null,
    "dir/empty": null,
    "dir/sub": null,
    "dir/sub/ü": "ü",
    "dir/x": "x",
    "link": "a",
  });
  const [from, to] = await Promise.all(
    ["src", "out"].map((dir) => Deno.stat(place.at(dir, "dir/x"))),
  );
  assertEquals(to!.mtime, from!.mtime);
  assertEquals([await entries(place.at("tmp")), await entries(place.homes.path)], [
    [],
    ["out", "src", "tmp"],
  ]);
});

Deno.test("on terminals a number is compared, and nothing carried; the line comes from stdin, too", async () => {
  await using place = await Place.make({ file: "x" });
  const sender = place.send(["file"], TERMINAL);
  const [, address = ""] = /"degu receive --address ([\d.:]+)"/
    .exec(await sender.line("--address")) ?? [];
  const receiver = place.receive(["--address", address], TERMINAL);
  for (const agent of [sender, receiver]) {
    await agent.line("Type y or yes");
    agent.feed("y\n");
  }
  for (const agent of [receiver, sender]) await assertEnds(agent, 0);
  assertEquals(await content(place.at("out")), { file: "x" });
  const again = place.send(["file"]);
  await assertEnds(place.receive(["-"], { stdin: `${await again.nextLine()}\n` }), 0, "up to date");
  await assertEnds(again, 0);
});

Deno.test("a name that is there is an error for that file alone; the sender goes on with a new line, until --force replaces it", async () => {
  await using place = await Place.make({ one: "new", two: "two", "dir/x": "new", "dir/y": "y" });
  await fill(place.at("out"), { one: "old", "dir/x": "old!" });
  const sender = place.send(["one", "two", "dir"], {}, "--json");
  const first = await sender.nextLine();
  const said = await assertEnds(place.receive([first]), 1, "replace it with --force");
  assertStringIncludes(said, "2 errors");
  assertEquals(await content(place.at("out")), {
    "one": "old",
    "two": "two",
    "dir": null,
    "dir/x": "old!",
    "dir/y": "y",
  });
  await sender.message("has left before it had everything");
  const second = await sender.nextLine();
  assert(second !== first);
  await assertEnds(place.receive([second, "--force"]), 0, "2 files copied");
  await assertEnds(sender, 0);
  assertEquals((await content(place.at("out")))["dir/x"], "new");
});

Deno.test("a receiver that is interrupted is noticed, and resumes when it is run again", async () => {
  using _clock = setClockAhead();
  await using place = await Place.make();
  await place.makeLarge("large");
  const sender = place.send(["large"]);
  const receiver = place.receive([await sender.nextLine()]);
  await place.untilSomeArrived();
  receiver.kill("SIGINT");
  await assertEnds(receiver, 130, "run the same command again to continue");
  await sender.message("has left before it had everything");
  const again = place.receive([await sender.nextLine(), "--json"]);
  const { stdout } = await again.ended();
  const { resumedFrom, bytes } = JSON.parse(stdout);
  assert(resumedFrom > 0, stdout);
  assertEquals(resumedFrom + bytes, LARGE);
  await assertEnds(sender, 0);
  assertEquals(await entries(place.at("tmp")), []);
});

Deno.test("a sender that is interrupted tells the receiver, which keeps what it has", async () => {
  using _clock = setClockAhead();
  await using place = await Place.make();
  await place.makeLarge("large");
  const sender = place.send(["large"]);
  const receiver = place.receive([await sender.nextLine()]);
  await place.untilSomeArrived();
  sender.kill("SIGINT");
  const said = await assertEnds(receiver, 1, "machine has stopped sending");
  assert(!said.includes("trying again"), said);
  await assertEnds(sender, 130);
  assertEquals(await entries(place.at("tmp")), []);
  assert((await entries(place.at("out"))).some((name) => name.endsWith(".degu-part")));
});

Deno.test("where nobody comes in time, or it is interrupted before, the sender fails, and nothing is left", async () => {
  await using place = await Place.make({ file: "x" });
  await assertEnds(place.send(["file"], {}, "--seconds", "1"), 1, "nobody has come in time");
  const sender = place.send(["file"]);
  await sender.nextLine();
  sender.kill("SIGINT");
  await assertEnds(sender, 130);
  assertEquals(await entries(place.at("tmp")), []);
});

Deno.test("what a killed process has left is removed by the next one, what another one uses is not", async () => {
  await using place = await Place.make({ file: "x" });
  const flags = ["--allow-read", "--allow-write", "--allow-net=127.0.0.1", "--allow-sys"];
  const args = ["--home", place.at("state"), "send", ...LOCAL, place.at("src/file")];
  const env = { TMPDIR: place.at("tmp") };
  await using killed = spawnAgent(args, { flags, env });
  await killed.line("degu:");
  const [left] = await entries(place.at("tmp"));
  killed.kill("SIGKILL");
  await killed.ended();
  assertEquals(await entries(place.at("tmp")), [left]);
  const one = place.send(["file"]);
  await one.nextLine();
  const [used, ...others] = await entries(place.at("tmp"));
  assert(used !== left && others.length === 0, `${used} ${others}`);
  const two = place.send(["file"]);
  await two.nextLine();
  assertEquals((await entries(place.at("tmp"))).length, 2);
  for (const each of [one, two]) each.kill("SIGINT");
  for (const each of [one, two]) await assertEnds(each, 130);
});

Deno.test("nothing but what was named can be read, and nothing written", async () => {
  await using place = await Place.make({ file: "file", other: "other", "dir/x": "x" });
  const sources = await findSources([place.at("src/file"), place.at("src/dir")], []);
  const sending = new Sending(sources, { warn: () => {} }, () => {});
  const statusOf = async (method: "GET" | "PUT" | "DELETE" | "POST", uri: string) => {
    const body = method === "PUT" ? new Body(new Blob(["x"]).stream(), 1) : null;
    const app = sending.app as unknown as (...args: unknown[]) => ReturnType<AppFunction>;
    const [status, , , answer] = await app(mkreq(method, uri, {}, body));
    await (answer as { cancel?: () => Promise<void> } | null)?.cancel?.();
    return status;
  };
  for (
    const [uri, status] of [
      ["/share/file", 200],
      ["/share/dir/x", 200],
      ["/share/dir/", 200],
      ["/", 200],
      ["/share/", 404],
      ["/share/other", 404],
      ["/share/file/other", 404],
      ["/share/file/", 404],
      ["/share/dir/~2E~2E/other", 404],
      ["/inbox/file", 404],
      ["/file", 404],
    ] as const
  ) assertEquals([uri, await statusOf("GET", uri)], [uri, status]);
  for (const uri of ["/share/file", "/share/dir/new"]) {
    assertEquals(await statusOf("PUT", uri), 405, uri);
    assertEquals(await statusOf("DELETE", uri), 405, uri);
  }
});

Deno.test("a receiver that has not been heard of for 20 s is gone", async () => {
  using clock = stopClock();
  const sending = new Sending([], { warn: () => {} }, () => {});
  const begun = performance.now();
  const { signal } = new AbortController();
  for (const [seconds, isHere] of [[0, true], [20, true], [1, false]] as const) {
    clock.pass(seconds);
    assertEquals(sending.isHere("x", begun), isHere, `${seconds}`);
  }
  const gone = sending.gone("x", signal);
  clock.pass(21);
  await gone;
});

Deno.test("what can't be sent is said before anything is: no file, two of a name, keys of a device", async () => {
  await using place = await Place.make({ "file": "x", "dir/file": "x" });
  const home = place.at("src/dir/state");
  await makeDevice(home, "device");
  for (const copy of ["copy", "above/one/copy"]) await makeDevice(place.at("src", copy), "device");
  const rows: [names: string[], said: string][] = [
    [["none"], "there is no "],
    [["file", "dir/file"], "has the same name"],
    [["dir"], "the directory of a device in it"],
    [["dir/state/device.json"], "the directory of a device in it"],
    [["dir/state/identity"], "the directory of a device in it"],
    // Other devices are known by their files: a copy of this one, and what is in it.
    [["copy"], "the directory of a device in it"],
    [["copy/identity"], "the directory of a device in it"],
    [["copy/identity/device/key.pem"], "the directory of a device in it"],
    [["above"], "the directory of a device in it"],
  ];
  for (const [names, said] of rows) {
    const paths = names.map((name) => place.at("src", name));
    await assertRejects(() => findSources(paths, [home]), Error, said);
  }
  // What has one of the two is no device.
  await fill(place.at("src"), { "name/device.json": "{}", "keys/identity": null });
  await findSources([place.at("src/name"), place.at("src/keys")], [home]);
  const paths = rows.flatMap(([names]) => names).map((name) => place.at("src", name));
  await place.homes.fail("src/dir/state", 2, "keys must not leave", ["send", ...LOCAL, paths[3]!]);
  await place.homes.fail("state", 2, "keys must not leave", ["send", ...LOCAL, place.at("tmp")]);
  await place.homes.fail("src/dir/state", 1, "the directory of a device", [
    ...["receive", "degu:x", home],
  ]);
  await place.homes.fail("state", 2, "one directory at most", ["receive", "a", "b"]);
  await place.homes.fail("state", 2, "one directory at most", ["receive", "-", "--from", "x"]);
  await place.homes.fail("state", 2, "on a terminal only", ["receive"]);
});

Deno.test("that all has arrived is said once more after a lost connection", async () => {
  await using place = await Place.make({ file: "x" });
  await using device = await Device.open(place.at("sender"), { name: "sender" });
  const sending = new Sending(
    await findSources([place.at("src/file")], []),
    { warn: () => {} },
    () => {},
  );
  let said = 0;
  await using _server = await device.serve(["127.0.0.1", 0], (request, session, api) => {
    if (request.uri === DONE_URI && ++said === 1) throw new Error("the first is lost");
    return sending.app(request, session, api);
  }, { logger: { debug() {}, info() {}, warn() {}, error() {} } });
  await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
  const told = await assertEnds(place.receive([invitation.line]), 0);
  assert(!told.includes("was not told"), told);
  await sending.done;
  assertEquals(said, 2);
  await sending.end();
});

Deno.test("a sender can't write elsewhere than below the target: its names are checked", async () => {
  await using place = await Place.make();
  await using device = await Device.open(place.at("evil"), { name: "evil" });
  let text = "";
  const app: AppFunction = async ({ uri }, session) => {
    if (uri === END_URI) await pause(Infinity, session.signal);
    return [200, "OK", {}, new TextEncoder().encode(text)];
  };
  await using server = device.listen(["127.0.0.1", 0], app);
  server.serveForever();
  await server.ready;
  const entry = { name: "x", kind: "file", size: 1, modified: 0 };
  const names = ["..", ".", "", "a/b", "/etc/x", "\0", ".x.degu-part", ".degu-files", 1, null];
  const lists: unknown[] = names.map((name) => [{ ...entry, name }]);
  lists.push([entry, entry], null, [null], {}, "x");
  for (const [key, value] of [["kind", "other"], ["size", -1], ["modified", "x"]] as const) {
    lists.push([{ ...entry, [key]: value }]);
  }
  for (const bad of [...lists.map((each) => JSON.stringify(each)), "nonsense"]) {
    text = bad;
    await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
    const receiver = place.receive([invitation.line]);
    await assertEnds(receiver, 1, 'not as "degu send" does');
  }
  assertEquals(await entries(place.at("out")), []);
});
