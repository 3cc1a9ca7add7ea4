/** degu send and degu receive: once, without pairing. */
import {
  DONE_URI,
  END_URI,
  findSources,
  SendSession,
} from "@degu/internal/agent/serve/send_session.ts";
import { json, reply } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { Body } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import type { AppFunction, ResponseTuple } from "@degu/degu/server";
import { AgentHomes, type InProcessOptions, type RunningAgent } from "@degu/testing/agents.ts";
import { fill, listNames, readMode, readTree } from "@degu/testing/directories.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { ProgramOutput } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { makeDevice } from "@degu/testing/device_pairs.ts";
import { toDeviceLine } from "@degu/internal/agent/pair/line_kinds.ts";
import { selectDevices } from "@degu/internal/agent/pair/join_device.ts";
import { pause } from "@degu/internal/agent/machine/pause.ts";
import { setClockAhead, speedUpTimeouts, stopPerformanceClock } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

const TERMINAL = { terminal: { columns: 500, rows: 24 }, stdin: null };
const LOCAL = ["--listen", "127.0.0.1:0"];

/** Returns the line that `degu send` prints for an invitation of the library. */
const toSendLine = (line: string) => line.replace("degu:", "degu-send:");

/** A machine with files in src, an empty directory out, and its own temporary directories. */
class SendMachine implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();

  private constructor(readonly homes: AgentHomes) {}

  static async make(files: Record<string, string> = {}): Promise<SendMachine> {
    const homes = await AgentHomes.create();
    const machine = new SendMachine(homes);
    const stack = machine.#stack;
    await fill(homes.path, { tmp: null, out: null, src: null });
    await fill(homes.joinPath("src"), files);
    stack.use(patch(Deno, "hostname", () => () => "machine.lan"));
    const dir = homes.joinPath("tmp");
    stack.use(patch(Deno, "makeTempDir", (make) => (options) => make({ ...options, dir })));
    stack.use(homes);
    return machine;
  }

  joinPath(...names: string[]): string {
    return this.homes.joinPath(...names);
  }

  send(names: readonly string[], options: InProcessOptions = {}, ...more: string[]) {
    const paths = names.map((name) => this.joinPath("src", name));
    const shownOutput = new ProgramOutput();
    const all = { ...options, onText: (_: string, text: string) => shownOutput.add(text) };
    const agent = this.homes.start("state", ["send", ...LOCAL, ...more, ...paths], all);
    const waitForInvitation = () => {
      const line = shownOutput.findNext(/degu-send:[\w-]{60,}(?=[\n"])/);
      return withTimeout(line, "the line of the invitation", 60);
    };
    return Object.assign(agent, { waitForInvitation });
  }

  receive(args: readonly string[], options: InProcessOptions = {}): RunningAgent {
    return this.homes.start("state", ["receive", ...args, this.joinPath("out")], options);
  }

  /** Sends files to a receiver; returns the output of both, which end with this code. */
  async transfer(names: readonly string[], code: number, ...options: string[]) {
    const sender = this.send(names);
    const receiver = this.receive([await sender.waitForInvitation(), ...options]);
    return { received: await assertEnds(receiver, code), sent: await assertEnds(sender, code) };
  }

  /** Makes a large file in src, whose transfer takes a while. */
  async makeLarge(name: string): Promise<void> {
    await Deno.writeFile(this.joinPath("src", name), new Uint8Array(LARGE).fill(1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

Deno.test("send without a network reports that, and prints no address", async () => {
  await using machine = await SendMachine.make({ a: "a" });
  const loopback = { family: "IPv4", name: "lo", address: "127.0.0.1", netmask: "255.0.0.0" };
  using _interfaces = patch(Deno, "networkInterfaces", () => () => [loopback] as never);
  const sender = machine.homes.start("state", ["send", machine.joinPath("src", "a")], TERMINAL);
  await sender.waitForLine("this machine has no network: only a device on this machine can");
  sender.kill("SIGINT");
  const output = await assertEnds(sender, 130);
  assert(!output.includes("127.0.0.1"), output);
});

/** More than the buffers of a connection, which grow up to 36 MiB. */
const LARGE = 64 * 1024 * 1024;

/** Calls an action once, when a part of the large file has been written. */
function onPartWritten(action: () => void): Disposable {
  let writtenBytes = 0;
  return patch(
    Deno.FsFile.prototype,
    "write",
    (write) =>
      async function (this: Deno.FsFile, bytes) {
        const count = await write.call(this, bytes);
        const isDue = writtenBytes <= LARGE / 10 && writtenBytes + count > LARGE / 10;
        writtenBytes += count;
        if (isDue) action();
        return count;
      },
  );
}

async function assertEnds(agent: RunningAgent, code: number, expectedText = ""): Promise<string> {
  const { code: ended, stdout, stderr } = await agent.waitForEnd();
  assertEquals(ended, code, stdout + stderr);
  assertStringIncludes(stdout + stderr, expectedText);
  return stdout + stderr;
}

Deno.test("receive with a wrong line names degu send, and neither degu invite nor degu pair", async () => {
  await using machine = await SendMachine.make({ a: "a" });
  for (const stdin of ["", "laptop\n", "A".repeat(70_000)]) {
    const receiver = machine.receive(["-"], { stdin });
    const output = await assertEnds(receiver, 2, '"degu send" on the other device has printed');
    assert(!output.includes("degu pair"), output);
  }
  const sender = machine.send(["a"]);
  const line = await sender.waitForInvitation();
  sender.kill("SIGINT");
  await assertEnds(sender, 130);
  const output = await assertEnds(machine.receive([line]), 3, 'run "degu send" again on the other');
  assert(!output.includes("degu invite"), output);
});

Deno.test("join refuses the line of send, and receive the line of invite, and no device is paired", async () => {
  await using machine = await SendMachine.make({ a: "a" });
  const { homes } = machine;
  await homes.init("other");
  const sender = machine.send(["a"]);
  const invite = homes.start("other", ["invite", ...LOCAL]);
  const rows = [
    ["join", [], await sender.waitForInvitation(), "receive"],
    ["receive", [machine.joinPath("out")], (await invite.waitForLine("degu:")).trim(), "join"],
  ] as const;
  for (const [command, more, line, other] of rows) {
    const message = `the line is for "degu ${other}": run "degu ${other} -" and give it the line\n`;
    for (const [operand, stdin] of [[line, ""], ["-", `${line}\n`]] as const) {
      const { code, stdout, stderr } = await homes.run("other", [command, operand, ...more], {
        stdin,
      });
      assertEquals([code, stdout, stderr], [2, "", `degu: error: ${message}`]);
    }
  }
  sender.kill("SIGINT");
  invite.kill("SIGINT");
  await assertEnds(sender, 130);
  await assertEnds(invite, 130);
  assertEquals(await homes.runToSuccess("other", ["peers"]), "");
});

Deno.test("files and directories arrive as with get -r, both commands succeed, and no temporary file remains", async () => {
  const files = { "a b.txt": "a", "dir/sub/ü": "ü", "dir/x": "x", "other": "no" };
  await using machine = await SendMachine.make(files);
  await Deno.mkdir(machine.joinPath("src", "dir", "empty"));
  if (HAS_LINKS) await makeLinks({ [machine.joinPath("src", "link")]: "a b.txt" });
  else await Deno.writeTextFile(machine.joinPath("src", "link"), "a");
  const { received, sent } = await machine.transfer(["a b.txt", "dir", "link"], 0);
  assertStringIncludes(received, "4 files copied");
  assert(/^receiving from machine \S+ into \S.*out\r?$/m.test(received), received);
  for (const text of ["machine downloaded ", "sent to machine "]) assertStringIncludes(sent, text);
  assertEquals(await readTree(machine.joinPath("out")), {
    ...{ "a b.txt": "a", "dir": null, "dir/empty": null, "dir/sub": null, "dir/sub/ü": "ü" },
    ...{ "dir/x": "x", "link": "a" },
  });
  const timeIn = async (dir: string) => (await Deno.stat(machine.joinPath(dir, "dir/x"))).mtime;
  assertEquals(await timeIn("out"), await timeIn("src"));
  assertEquals(await listNames(machine.joinPath("tmp")), []);
  assertEquals(await listNames(machine.homes.path), ["out", "src", "tmp"]);
});

Deno.test("received files are not executable; a private file stays private", async () => {
  const files = { "tool": "1", "key": "2", "dir/tool": "3", "dir/key": "4" };
  await using machine = await SendMachine.make(files);
  await Deno.writeFile(machine.joinPath("src", "dir", "large tool"), randomBytes(300_000));
  for (const name of ["tool", "dir/tool", "dir/large tool"]) {
    await Deno.chmod(machine.joinPath("src", name), 0o777);
  }
  for (const name of ["key", "dir/key"]) await Deno.chmod(machine.joinPath("src", name), 0o600);
  // The second run finds every file at the target.
  for (const more of [[], ["--force"]]) {
    await machine.transfer(["tool", "key", "dir"], 0, ...more);
    for (const name of ["tool", "dir/tool", "dir/large tool"]) {
      const bits = await readMode(machine.joinPath("out", name));
      assertEquals([bits & 0o111, bits & ~0o666, bits & 0o600], [0, 0, 0o600], name);
    }
    for (const name of ["key", "dir/key"]) {
      assertEquals(await readMode(machine.joinPath("out", name)), 0o600);
    }
  }
});

Deno.test("on terminals users compare a number without a line; the line can also come from stdin", async () => {
  await using machine = await SendMachine.make({ file: "x" });
  const sender = machine.send(["file"], TERMINAL);
  const [, address = ""] = /"degu receive --address ([\d.:]+)"/
    .exec(await sender.waitForLine("--address")) ?? [];
  const receiver = machine.receive(["--address", address], TERMINAL);
  for (const agent of [sender, receiver]) {
    await agent.waitForLine("Type y or yes");
    agent.writeInput("y\n");
  }
  for (const agent of [receiver, sender]) await assertEnds(agent, 0);
  assertEquals(await readTree(machine.joinPath("out")), { file: "x" });
  const secondSender = machine.send(["file"]);
  const stdin = `${await secondSender.waitForInvitation()}\n`;
  await assertEnds(machine.receive(["-"], { stdin }), 0, "up to date");
  await assertEnds(secondSender, 0);
});

/** Refuses to open or list a path, as for a user without permission. */
function makeUnreadable(path: string): Disposable {
  const check = (each: string | URL) => {
    if (`${each}` !== path) return;
    const error = new Deno.errors.PermissionDenied(
      `Permission denied (os error 13): open '${path}'`,
    );
    throw Object.assign(error, { code: "EACCES" });
  };
  const stack = new DisposableStack();
  stack.use(patch(Deno, "open", (open) => async (each, options) => {
    check(each);
    return await open(each, options);
  }));
  stack.use(patch(Deno, "readDir", (readDir) => (each) => {
    check(each);
    return readDir(each);
  }));
  return stack;
}

Deno.test("send refuses a file or directory that it can't read before it waits", async () => {
  await using machine = await SendMachine.make({ "file": "x", "dir/x": "x" });
  for (const name of ["file", "dir"]) {
    const path = machine.joinPath("src", name);
    using _unreadable = makeUnreadable(path);
    const sender = machine.send([name]);
    const stderr = await assertEnds(sender, 1, `${JSON.stringify(path)}: permission denied`);
    assert(!stderr.includes("degu receive"), stderr);
  }
});

Deno.test("without --force, an existing name is an error for that file only, and an existing directory for its content", async () => {
  const files = { one: "new", two: "two", "dir/x": "new", "dir/y": "y" };
  await using machine = await SendMachine.make(files);
  await fill(machine.joinPath("out"), { one: "old", "dir/x": "old!" });
  const { received, sent } = await machine.transfer(["one", "two", "dir"], 1);
  for (const text of ["--force replaces it", "the directory exists already", "2 errors"]) {
    assertStringIncludes(received, text);
  }
  const kept = { "one": "old", "two": "two", "dir": null, "dir/x": "old!" };
  assertEquals(await readTree(machine.joinPath("out")), kept);
  assertStringIncludes(sent, "has 1 file, and 2 failures: ");
  const forced = await machine.transfer(["one", "two", "dir"], 0, "--force");
  assertStringIncludes(forced.received, "3 files copied");
  assertEquals((await readTree(machine.joinPath("out")))["dir/x"], "new");
});

Deno.test("receive writes to no inbox of its directory, whatever the names that the sender chooses", async () => {
  const files = { "dir/Inbox/photo": "forged", "dir/x": "x", "Inbox/photo": "forged" };
  await using machine = await SendMachine.make(files);
  const out = machine.joinPath("out");
  const inboxes = {
    "dir/Inbox/.degu-files": null,
    "dir/Inbox/photo": "of phone",
    "Inbox/.degu-files": null,
    "Inbox/photo": "of phone",
  };
  await fill(out, inboxes);
  const { received } = await machine.transfer(["dir", "Inbox"], 1, "--force");
  assertStringIncludes(received, `${out}/dir/Inbox: skipped: an inbox`);
  assertStringIncludes(received, 'Inbox" is an inbox of this device');
  const { "Inbox": _, "dir": _dir, "dir/Inbox": _inbox, ...rest } = await readTree(out);
  assertEquals(rest, { ...inboxes, "dir/x": "x" });
});

Deno.test("receive into an inbox is refused before a device is invited", async () => {
  await using machine = await SendMachine.make();
  await fill(machine.joinPath("out"), { ".degu-files": null });
  const output = await assertEnds(machine.receive([]), 1);
  assertStringIncludes(output, 'out" is an inbox of this device');
});

Deno.test("receive refuses a directory that does not exist at once", async () => {
  await using machine = await SendMachine.make();
  const { homes } = machine;
  const missing = machine.joinPath("none");
  const line = `degu:${"a".repeat(80)}`;
  for (const args of [[missing], [`${missing}/`], ["-", missing], [line, missing]]) {
    await homes.runToFailure("state", 1, "there is no directory", ["receive", ...args]);
  }
  const message = "there is no directory \"x y/z\" on this device: mkdir -p 'x y/z'\n";
  await homes.runToFailure("state", 1, message, ["receive", "x y/z"]);
  assertEquals(await listNames(homes.path), ["out", "src", "tmp"]);
});

Deno.test("a file resumes when both commands are run again", async () => {
  using _clock = setClockAhead();
  await using machine = await SendMachine.make();
  await machine.makeLarge("large");
  const sender = machine.send(["large"]);
  const receiver = machine.receive([await sender.waitForInvitation()]);
  {
    using _part = onPartWritten(() => receiver.kill("SIGINT"));
    await assertEnds(receiver, 130, "run both commands again");
  }
  sender.kill("SIGINT");
  await assertEnds(sender, 130);
  const secondSender = machine.send(["large"]);
  const secondReceiver = machine.receive([await secondSender.waitForInvitation(), "--json"]);
  const { stdout } = await secondReceiver.waitForEnd();
  const { resumedFrom, bytes } = JSON.parse(stdout);
  assert(resumedFrom > 0, stdout);
  assertEquals(resumedFrom + bytes, LARGE);
  await assertEnds(secondSender, 0);
  assertEquals(await listNames(machine.joinPath("tmp")), []);
});

Deno.test("an interrupted sender notifies the receiver, which keeps its partial files", async () => {
  using _clock = setClockAhead();
  await using machine = await SendMachine.make();
  await machine.makeLarge("large");
  const sender = machine.send(["large"]);
  using _part = onPartWritten(() => sender.kill("SIGINT"));
  const receiver = machine.receive([await sender.waitForInvitation()]);
  const output = await assertEnds(receiver, 1, "machine has stopped sending");
  assert(!output.includes("trying again"), output);
  await assertEnds(sender, 130);
  assertEquals(await listNames(machine.joinPath("tmp")), []);
  assert((await listNames(machine.joinPath("out"))).some((name) => name.endsWith(".degu-part")));
});

Deno.test("without a receiver in time, or after an interruption, the sender fails, and no temporary file remains", async () => {
  await using machine = await SendMachine.make({ file: "x" });
  await assertEnds(machine.send(["file"], {}, "--seconds", "1"), 1);
  const sender = machine.send(["file"]);
  await sender.waitForInvitation();
  sender.kill("SIGINT");
  await assertEnds(sender, 130);
  assertEquals(await listNames(machine.joinPath("tmp")), []);
});

Deno.test("only the sources can be read, and nothing can be written", async () => {
  await using machine = await SendMachine.make({ file: "file", other: "other", "dir/x": "x" });
  const paths = [machine.joinPath("src/file"), machine.joinPath("src/dir")];
  const sources = await findSources(paths, []);
  const sendSession = new SendSession(sources, { warn: () => {} }, () => {});
  const statusOf = async (method: "GET" | "PUT" | "DELETE" | "POST", uri: string) => {
    const body = method === "PUT" ? new Body(new Blob(["x"]).stream(), 1) : null;
    await using response = await callApp(sendSession.app, mkreq(method, uri, {}, body));
    return response.status;
  };
  for (const uri of ["/share/file", "/share/dir/x", "/share/dir/", "/"]) {
    assertEquals(await statusOf("GET", uri), 200, uri);
  }
  const belowShare = ["", "other", "file/other", "file/", "dir/%252E%252E/other"];
  // On Windows, a component has no backslash.
  if (Deno.build.os !== "windows") belowShare.push("dir/..%5Cother");
  for (const uri of [...belowShare.map((path) => `/share/${path}`), "/inbox/file", "/file"]) {
    assertEquals(await statusOf("GET", uri), 404, uri);
  }
  for (const uri of ["/share/file", "/share/dir/new"]) {
    assertEquals(await statusOf("PUT", uri), 405, uri);
    assertEquals(await statusOf("DELETE", uri), 405, uri);
  }
});

Deno.test("a receiver that is silent for 20 s ends the sender, with advice; an earlier request is served", async () => {
  using clock = stopPerformanceClock();
  using _timeouts = speedUpTimeouts((milliseconds) => [1000, 5000].includes(milliseconds));
  await using machine = await SendMachine.make({ file: "x" });
  await using device = await Device.open(machine.joinPath("receiver"), { name: "receiver" });
  /** Connects, sends a request, disconnects, and connects again after some seconds. */
  const joinAndLeave = async (sender: ReturnType<SendMachine["send"]>, seconds: number) => {
    const peer = await device.join(toDeviceLine(await sender.waitForInvitation()), { serving: [] });
    const client = await device.client(peer);
    {
      using firstConnection = await client.connect();
      assertEquals((await firstConnection.get(END_URI, {})).status, 204);
    }
    clock.pass(seconds);
    return client;
  };
  const patientSender = machine.send(["file"]);
  {
    const client = await joinAndLeave(patientSender, 19);
    using secondConnection = await client.connect();
    assertEquals((await secondConnection.get(END_URI, {})).status, 204);
    assertEquals((await secondConnection.post(DONE_URI, {}, null)).status, 200);
  }
  await assertEnds(patientSender, 0, "sent to receiver");
  const silentSender = machine.send(["file"]);
  await joinAndLeave(silentSender, 21);
  const expectedMessage =
    "receiver has disconnected before it had received all files: run both commands again";
  await assertEnds(silentSender, 1, expectedMessage);
});

Deno.test("sources that can't be sent are reported before the invitation: a missing file, two files of one name, names that can't be sent, keys of a device", async () => {
  await using machine = await SendMachine.make({
    "file": "x",
    "dir/file": "x",
    "..;x": "x",
    ".x.degu-part": "x",
  });
  const home = machine.joinPath("src/dir/state");
  await makeDevice(home, "device");
  const rows: [names: string[], expectedMessage: string][] = [
    [["none"], "does not exist"],
    [["file", "dir/file"], "has the same name"],
    [["..;x"], 'can\'t begin with ".;" or "..;"'],
    [[".x.degu-part"], "has no name that can be sent: name its files"],
    [["dir"], "contains the directory of the device"],
    [["dir/state/device.json"], "contains the directory of the device"],
    [["dir/state/identity"], "contains the directory of the device"],
  ];
  for (const [names, expectedMessage] of rows) {
    const paths = names.map((name) => machine.joinPath("src", name));
    await assertRejects(() => findSources(paths, [home]), Error, expectedMessage);
  }
  const [tmp, out] = [machine.joinPath("tmp"), machine.joinPath("out")];
  const commands: [device: string, code: number, expectedMessage: string, args: string[]][] = [
    ["src/dir/state", 2, "keys must not leave", ["send", ...LOCAL, machine.joinPath("src/dir")]],
    ["state", 2, "keys must not leave", ["send", ...LOCAL, tmp]],
    ["src/dir/state", 1, "the directory of the device", ["receive", "degu-send:x", home]],
    ["state", 2, "at most one directory", ["receive", "a", "b"]],
    ["state", 2, "at most one directory", ["receive", "-", "--from", "x"]],
    ["state", 2, "on a terminal only", ["receive", "--address", "127.0.0.1:1", out]],
  ];
  for (const command of commands) await machine.homes.runToFailure(...command);
});

Deno.test("without a terminal, and with --json on one, receive waits ten minutes for a sender, or for the line on stdin", async (t) => {
  const rows: [rule: string, expectedMessage: string, options: InProcessOptions, args: string[]][] =
    [
      ["a line", "no line has arrived on stdin in ten minutes", {}, ["-"]],
      ["a sender, with --json", '"TIMED_OUT","message":"no sending device', TERMINAL, [
        "--from",
        "nobody",
        "--json",
      ]],
    ];
  await testEachRow(t, rows, async (_rule, expectedMessage, options, args) => {
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 600_000, 1000);
    await using machine = await SendMachine.make();
    const receiver = machine.receive(args, { stdin: null, ...options });
    await assertEnds(receiver, 1, expectedMessage);
  });
});

Deno.test("a failed report of success to the sender is a warning", async () => {
  await using machine = await SendMachine.make();
  await using liar = await makeLiar(machine, ({ uri }) => uri === "/" ? json([]) : reply(500));
  await using invitation = await liar.invite();
  const expectedMessage =
    "all files have arrived, but liar was not notified: it answered with status 500";
  await assertEnds(machine.receive([toSendLine(invitation.line)]), 0, expectedMessage);
});

Deno.test("the report of success is repeated after a lost connection", async () => {
  await using machine = await SendMachine.make({ file: "x" });
  await using device = await Device.open(machine.joinPath("sender"), { name: "sender" });
  const sources = await findSources([machine.joinPath("src/file")], []);
  const sendSession = new SendSession(sources, { warn: () => {} }, () => {});
  let reportCount = 0;
  await using _server = await device.serve(["127.0.0.1", 0], (request, session, api) => {
    if (request.uri === DONE_URI && ++reportCount === 1) session.close();
    return sendSession.app(request, session, api);
  }, { logger: { debug() {}, info() {}, warn() {}, error() {} } });
  await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
  const output = await assertEnds(machine.receive([toSendLine(invitation.line)]), 0);
  assert(!output.includes("was not notified"), output);
  assertEquals(await sendSession.resultReported, null);
  assertEquals(reportCount, 2);
  await sendSession.end();
});

Deno.test("a sender can write only below the target: its names are checked", async () => {
  await using machine = await SendMachine.make();
  await using device = await Device.open(machine.joinPath("evil"), { name: "evil" });
  let text = "";
  const app: AppFunction = async ({ uri }, session) => {
    if (uri === END_URI) await pause(Infinity, session.signal);
    return [200, "OK", {}, new TextEncoder().encode(text)];
  };
  await using _server = await device.serve(["127.0.0.1", 0], app);
  const entry = { name: "x", kind: "file", size: 1 };
  // files/tests/file_name_test.ts has the names that fileUri() refuses.
  const names = ["..", "a/b", ".x.degu-part", 1];
  const lists: unknown[] = names.map((name) => [{ ...entry, name }]);
  lists.push([entry, entry], null, [{ ...entry, kind: "other" }], [{ ...entry, size: -1 }]);
  for (const bad of [...lists.map((each) => JSON.stringify(each)), "nonsense"]) {
    text = bad;
    await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
    const receiver = machine.receive([toSendLine(invitation.line)]);
    await assertEnds(receiver, 1, "does not run degu send");
  }
  assertEquals(await listNames(machine.joinPath("out")), []);
});

/** Makes a malicious sender, which counts the requests that ask whether it has stopped. */
async function makeLiar(
  machine: SendMachine,
  answer: AppFunction,
  end: AppFunction = () => NOT_FOUND,
) {
  const device = await Device.open(machine.joinPath("liar"), { name: "liar" });
  let pollCount = 0;
  const server = await device.serve(["127.0.0.1", 0], (request, session, api) => {
    if (request.uri !== END_URI) return answer(request, session, api);
    pollCount++;
    return end(request, session, api);
  });
  return {
    device,
    pollCount: () => pollCount,
    invite: () => device.invite({ listen: [["127.0.0.1", 0]] }),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

const NOT_FOUND: ReturnType<AppFunction> = [404, "Not Found", {}, null];
const NO_END_YET: ReturnType<AppFunction> = [204, "No Content", {}, null];

Deno.test("the offered files are listed before the first request, with escaped names, in at most twenty lines", async () => {
  const names = ["a\n b", ...Array.from({ length: 21 }, (_, i) => `f${i}`)];
  const list = names.map((name) => ({ name, kind: "file", size: 1234 }));
  await using machine = await SendMachine.make();
  let shown = "";
  let first: string | null = null;
  await using liar = await makeLiar(machine, ({ uri }) => {
    if (uri !== "/") {
      first ??= shown;
      return NOT_FOUND;
    }
    return json([...list, { ...list[0]!, name: "d", kind: "directory" }]);
  });
  await using invitation = await liar.invite();
  const onText = (_: string, text: string) => shown += text;
  await assertEnds(machine.receive([toSendLine(invitation.line)], { onText }), 1);
  const [, announced] = /^liar sends:\n((?: .*\n)*)/m.exec(first ?? "") ?? [];
  const lines = ["a\\u{a} b", ...names.slice(1, 20)].map((name) => `  ${name} (1.23 kB)\n`);
  assertEquals(announced, `${lines.join("")}  and 3 more\n`);
});

Deno.test("send reports how many files each of the two sides could not read or store", async () => {
  await using machine = await SendMachine.make({ gone: "1", old: "new", fine: "3" });
  await fill(machine.joinPath("out"), { old: "other" });
  const sender = machine.send(["gone", "old", "fine"]);
  const line = await sender.waitForInvitation();
  await Deno.remove(machine.joinPath("src", "gone"));
  await assertEnds(machine.receive([line]), 1, "gone");
  const problems = "1 failure to read on this device, and 1 other failure";
  const advice = '"degu receive" on machine has printed each reason';
  await assertEnds(sender, 1, `machine has 1 file, and ${problems}: ${advice}\n`);
});

Deno.test("names that begin with a dot are received only with --force, all other names without it", async () => {
  // A disk that ignores invisible characters treats the second name as .profile.
  const dotFiles = { ".bashrc": "evil", "\u200c.profile": "evil", ".ssh/authorized_keys": "evil" };
  await using machine = await SendMachine.make({ ...dotFiles, "dir/.hidden": "x", "x": "x" });
  await fill(machine.joinPath("out"), { ".ssh/known_hosts": "mine" });
  const names = [".bashrc", "\u200c.profile", ".ssh", "dir", "x"];
  const { received, sent } = await machine.transfer(names, 1);
  assertStringIncludes(received, "3 errors");
  for (const name of [".bashrc", ".profile", ".ssh"]) {
    assertStringIncludes(received, `${name}: its name begins with a dot`);
  }
  const before = { ".ssh": null, ".ssh/known_hosts": "mine" };
  const receivedFiles = { "dir": null, "dir/.hidden": "x", "x": "x" };
  assertEquals(await readTree(machine.joinPath("out")), { ...before, ...receivedFiles });
  assertStringIncludes(sent, "has 2 files, and 3 failures: ");
  await machine.transfer(names, 0, "--force");
  const all = { ...before, ...receivedFiles, ...dotFiles };
  assertEquals(await readTree(machine.joinPath("out")), all);
});

Deno.test("a dangling link is reported like any other existing file", async () => {
  await using machine = await SendMachine.make({ file: "x" });
  await makeLinks({ [machine.joinPath("out/file")]: "nothing" });
  const { received } = await machine.transfer(["file"], 1);
  assertStringIncludes(received, "--force replaces it");
  assert(!received.includes("replace: true"), received);
  await machine.transfer(["file"], 0, "--force");
  assertEquals(await readTree(machine.joinPath("out")), { file: "x" });
});

Deno.test("a receiver polls the sender again after each pause, and after each lost connection, until the sender stops", async () => {
  await using machine = await SendMachine.make();
  let pauses = 0;
  using _timeouts = speedUpTimeouts((milliseconds) => {
    if (milliseconds !== 1000) return false;
    return ++pauses > 0;
  }, Infinity);
  const list = JSON.stringify([{ name: "x", kind: "file", size: 1 }]);
  const never = Promise.withResolvers<ResponseTuple>();
  await using liar = await makeLiar(
    machine,
    ({ uri }) => uri === "/" ? [200, "OK", {}, new TextEncoder().encode(list)] : never.promise,
    () => liar.pollCount() < 4 ? NO_END_YET : [200, "OK", {}, null],
  );
  await using invitation = await liar.invite();
  await assertEnds(machine.receive([toSendLine(invitation.line)]), 1, "liar has stopped sending");
  never.resolve([404, "Not Found", {}, null]);
  assert(pauses >= 3, `${pauses} pauses`);
  assertEquals(liar.pollCount(), 4);
});

Deno.test("a receiver searches again while no sender is found", async () => {
  let searches = 0;
  const thirdSearchBegun = Promise.withResolvers<void>();
  using _timeouts = speedUpTimeouts((milliseconds) => {
    // The duration of one search.
    if (milliseconds !== 3000) return false;
    if (++searches === 3) thirdSearchBegun.resolve();
    return true;
  }, 100);
  await using machine = await SendMachine.make();
  await using receiver = machine.receive(["--from", "nobody"], { stdin: null });
  await withTimeout(thirdSearchBegun.promise, "the third search");
  receiver.kill("SIGINT");
  assertEquals((await receiver.waitForEnd()).code, 130);
});

Deno.test("devices are selected by a name, ignoring case, or else by the beginning of an id", () => {
  const devices = [
    { name: "one", id: "abcdefghijklmnop" },
    { name: "ONE", id: "bbcdefghijklmnop" },
    { name: "ab", id: "cccdefghijklmnop" },
    { name: "x".repeat(46), id: "cdcdefghijklmnop" },
    { name: "abcd", id: "eecdefghijklmnop" },
  ];
  const select = (text: string | undefined) => selectDevices(devices, text).map(({ id }) => id[1]);
  const rows: [string | undefined, string][] = [
    [undefined, "bbcde"],
    ["One", "bb"],
    ["a", "b"],
    ["abc", "b"],
    ["abcd", "e"],
    ["abcdefghijklmnop" + "q".repeat(36), "b"],
    ["c", "cd"],
    ["x".repeat(63), "d"],
    ["one…x", ""],
  ];
  for (const [text, expected] of rows) assertEquals(select(text).join(""), expected, text);
});
