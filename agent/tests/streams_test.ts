/** degu put from stdin and FIFOs, and degu get to stdout. */
import { readInstallFlags } from "@degu/testing/agent_documentation.ts";
import { AgentFiles, parseObjects, waitForFile } from "@degu/testing/agent_files.ts";
import { AgentHomes, spawnAgent } from "@degu/testing/agents.ts";
import { skipPauses, speedUpTimeouts } from "@degu/testing/clock.ts";
import { makeDenoCommand, runCommand } from "@degu/testing/commands.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { fill, listNames, readTree } from "@degu/testing/directories.ts";
import { makeFifo } from "@degu/testing/special_files.ts";
import { findShellObstacle, ignoreIf } from "@degu/testing/terminals.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { formatAddress } from "@degu/degu/base";
import { fromFileUrl } from "@std/path";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

/** More bytes than the program reads before it begins to send. */
const LONG_TEXT = "0123456789".repeat(70_000);

/** Runs a line of bash, in which `degu` is the viewer's program with the documented permissions. */
async function runShell(files: AgentFiles, line: string) {
  const main = fromFileUrl(new URL("../main.ts", import.meta.url));
  const home = ["--home", files.homes.joinPath("viewer")];
  const command = makeDenoCommand(await readInstallFlags(), main, ...home);
  const quotedCommand = command.map((part) => `'${part}'`).join(" ");
  const script = `degu() { local c=$1; shift; ${quotedCommand} "$c" --no-find "$@"; }; ${line}`;
  return await runCommand(["bash", "-c", script, files.local], { env: { NO_COLOR: "1" } });
}

const noBash = await findShellObstacle("bash");

Deno.test("put - sends stdin under the given name; get - writes the content, and only that, to stdout", async () => {
  await using files = await AgentFiles.start();
  for (const text of ["", "content\n", LONG_TEXT]) {
    const args = ["put", "--force", "-", "camera:sub/name"];
    const { code, stdout, stderr } = await files.homes.run("viewer", args, { stdin: text });
    assertEquals([code, stdout], [0, "camera:sub/name\n"], stderr);
    const warning = text === ""
      ? "degu: warning: stdin was empty, so camera:sub/name is an empty file\n"
      : "";
    assert(stderr.startsWith(warning), stderr);
    assertMatch(stderr.slice(warning.length), /^1 file copied, [^\n]*\n$/);
    assertEquals(await Deno.readTextFile(`${files.inbox}/sub/name`), text);
    const getArgs = ["get", "--inbox", "camera:sub/name", "-"];
    for (const options of text === "content\n" ? [[], ["--verbose"], ["--quiet"]] : [[]]) {
      const got = await files.runToSuccess(...getArgs, ...options);
      assertEquals(got.stdout, text);
      const summary = options[0] === "--quiet" ? /^$/ : /^(stdout\n)?1 file copied, [^\n]*\n$/;
      assertMatch(got.stderr, summary);
    }
  }
  await using agent = files.start(["put", "--json", "-", "camera:other"], { stdin: "content" });
  const [object] = parseObjects(await agent.waitForEnd());
  const { from, to, bytes, total } = object!;
  assertEquals([from, to, bytes, total], ["stdin", "camera:other", 7, 7]);
});

Deno.test("binary content passes through pipes, and ./- is a file", ignoreIf(noBash), async () => {
  await using files = await AgentFiles.start();
  const content = randomBytes(3_000_000);
  await Deno.writeFile(`${files.local}/source`, content);
  const line = 'cd "$0"; cat source | degu put --quiet - camera:a.bin && ' +
    "degu get --quiet --inbox camera:a.bin - > copy && cmp source copy && " +
    "echo dash > ./- && degu put --quiet ./- camera:";
  const { code, stdout, stderr } = await runShell(files, line);
  assertEquals([code, stdout, stderr], [0, "", ""]);
  assertEquals(await Deno.readTextFile(`${files.inbox}/-`), "dash\n");
});

Deno.test(
  "a FIFO and process substitution are sources, a device is not",
  ignoreIf(noBash),
  async () => {
    await using files = await AgentFiles.start();
    const fifo = `${files.local}/fifo`;
    assert(await makeFifo(fifo));
    await fill(files.inbox, { "dir/x": "x" });
    for (const target of ["", "dir"]) {
      const written = runCommand(["bash", "-c", 'echo named > "$0"', fifo]);
      await files.runToSuccess("put", fifo, `camera:${target}`);
      await written;
    }
    const line =
      "degu put <(echo substituted) camera:subst; degu put <(echo x) camera:; echo $?; " +
      "degu put /dev/null camera:z; echo $?";
    const { stdout, stderr } = await runShell(files, line);
    const codes = stdout.split("\n").filter((text) => /^\d+$/.test(text));
    assertEquals(codes, ["2", "1"], stderr);
    assertStringIncludes(stderr, "name the file at the peer, such as camera:NAME");
    assertStringIncludes(stderr, '"/dev/null" is neither a file nor a directory');
    const moved = `"${fifo}" is a FIFO: put it without --move`;
    await files.runToFailure(1, moved, "put", "--move", fifo, "camera:");
    const { stderr: skipped } = await files.runToSuccess("put", "-r", files.local, "camera:all");
    assertStringIncludes(skipped, "fifo: skipped: neither a file nor a directory");
    const { "fifo": named, "dir/fifo": again, subst } = await readTree(files.inbox);
    assertEquals([named, again, subst], ["named\n", "named\n", "substituted\n"]);
  },
);

Deno.test("put and get refuse a wrong use of -, before they connect", async () => {
  await using files = await AgentFiles.start();
  await files.kill();
  const [stdin, stdout] = ["- is stdin: ", "- is stdout: "];
  const rows: [string[], string][] = [
    [["put", "-", "camera:"], `${stdin}name the file at the peer, such as camera:NAME`],
    [["put", "-", "other", "camera:"], `${stdin}put it alone; for a file of this name write ./-`],
    [["put", "--move", "-", "camera:a"], `${stdin}leave out --move`],
    [["put", "camera:a", "-"], "the target comes last: degu put - camera:a"],
    [["get", "-r", "camera:a", "-"], `${stdout}leave out -r`],
    [["get", "camera:a", "camera:b", "-"], `${stdout}get a single file`],
    [["get", "--json", "camera:a", "-"], `${stdout}leave out --json`],
    [["send", "-"], "- is stdin, which degu send can't send: write the data to a file first"],
    [["sync", "-", "camera:a"], "- is no directory"],
  ];
  for (const [args, message] of rows) {
    assertStringIncludes(await files.runToFailure(2, message, ...args), message);
  }
  await files.runToFailure(1, "camera does not answer", "get", "camera:a", "-");
});

Deno.test("put - refuses an existing file or a directory before it reads stdin", async () => {
  await using files = await AgentFiles.start();
  await fill(files.inbox, { "file": "old", "dir/x": "" });
  const rows: [string, string][] = [
    ["camera:file", "another file of this name exists on camera: replace it with --force"],
    ["camera:dir", "is a directory: name the file, such as camera:dir/NAME"],
    ["camera:file/x", '"camera:file" is a file: name a directory'],
    ["camera:.degu-files", "is reserved"],
  ];
  for (const [target, message] of rows) {
    // Stdin stays open, so a command that reads it does not end.
    const options = { stdin: null };
    await files.homes.runToFailure("viewer", 1, message, ["put", "-", target], options);
  }
  await files.serve("--inbox", files.inboxes, "--new-only");
  const replace = ["--json", "put", "--force", "-", "camera:file"];
  const { stdout, stderr } = await files.homes.run("viewer", replace, { stdin: null });
  assertStringIncludes(stderr, "only accepts new files");
  assertStringIncludes(stdout, '"code":"ALREADY_THERE"');
  assertEquals(await Deno.readTextFile(`${files.inbox}/file`), "old");
  assertEquals(await listNames(`${files.inbox}/dir`), ["x"]);
});

Deno.test("a refused put - leaves all of stdin to the next program", ignoreIf(noBash), async () => {
  await using files = await AgentFiles.start();
  await fill(files.inbox, { file: "old" });
  await fill(files.local, { source: LONG_TEXT });
  const line = 'cd "$0"; (degu put - camera:file 2>/dev/null || cat) < source | cmp - source';
  const { code, stdout } = await runShell(files, line);
  assertEquals([code, stdout], [0, ""]);
});

Deno.test("put - with --wait waits for the peer before it reads stdin", async () => {
  await using files = await AgentFiles.start();
  await files.kill();
  const paused = Promise.withResolvers<void>();
  using _pauses = speedUpTimeouts((milliseconds) => {
    if (milliseconds === 2000) paused.resolve();
    return milliseconds === 2000;
  });
  await using agent = files.start(["put", "--wait", "60", "-", "camera:a"], { stdin: null });
  await paused.promise;
  await files.serve();
  agent.writeInput("content", true);
  const { code, stderr } = await agent.waitForEnd();
  assertEquals([code, await readTree(files.inbox)], [0, { a: "content" }], stderr);
});

Deno.test("put - whose connection breaks ends with 1, says what to do, and leaves no file", async () => {
  await using files = await AgentFiles.start();
  await using relay = new CuttingRelay(files.address);
  relay.cutAfter(300_000);
  const address = ["--address", formatAddress(relay.address)];
  await using agent = files.start(["put", ...address, "-", "camera:a"], { stdin: null });
  agent.writeInput(LONG_TEXT);
  const { code, stderr } = await agent.waitForEnd();
  assertEquals(code, 1, stderr);
  assertMatch(stderr, /^degu: error: stdin: [^\n]*; run the same command again, with its input /);
  assert(!stderr.includes("trying again"), stderr);
  assertEquals((await listNames(files.inbox)).filter((name) => name === "a"), []);
});

Deno.test("an interrupted put - ends with 130 and leaves no file, even if its input ends with it", async () => {
  await using files = await AgentFiles.start();
  for (const text of ["short", LONG_TEXT]) {
    await using agent = files.start(["put", "-", "camera:a"], { stdin: null });
    agent.writeInput(text);
    if (text === LONG_TEXT) {
      await waitForFile(files.inboxes, (name, size) => name.startsWith("put-") && size > 0);
    }
    // The end of the input arrives before the signal.
    agent.writeInput("", true);
    agent.kill("SIGINT");
    const { code, stderr } = await agent.waitForEnd();
    assertEquals(code, 130, stderr);
    if (text === LONG_TEXT) assertStringIncludes(stderr, "a stream is not continued");
    assertEquals((await listNames(files.inbox)).filter((name) => name === "a"), []);
  }
});

Deno.test("get - continues over new connections, and writes no byte twice", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { long: LONG_TEXT });
  await using relay = new CuttingRelay(files.address);
  relay.cutEachAfter(300_000);
  using pauses = skipPauses();
  const address = ["--address", formatAddress(relay.address)];
  await using agent = files.start(["get", ...address, "camera:long", "-"], {
    onText: (to, text) => to === "stderr" && pauses.note(text),
  });
  const { code, stdout, stderr } = await agent.waitForEnd();
  assertEquals([code, stdout.length], [0, LONG_TEXT.length], stderr);
  assertEquals(stdout, LONG_TEXT);
  assertStringIncludes(stderr, "trying again in 1 s (1 of 3)");
});

Deno.test("get - of a file that is missing or a directory writes nothing to stdout", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { "dir/x": "x", "file": "f" });
  const rows: [string, string][] = [
    ["camera:none", '"camera:none" does not exist'],
    ["camera:dir", '"camera:dir" is a directory: name a file'],
    ["camera:", "is a directory: name a file"],
    ["camera:file/", "leave out the slash at the end"],
  ];
  for (const [source, message] of rows) {
    const { code, stdout, stderr } = await files.run("get", source, "-");
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, message);
  }
});

Deno.test(
  "get - ends quietly with 1 if its reader does, and names stdout if that is full",
  ignoreIf(noBash),
  async () => {
    await using files = await AgentFiles.start();
    await fill(files.share, { long: LONG_TEXT.repeat(10) });
    const line = 'degu get camera:long - | head -c 1; echo " ${PIPESTATUS[0]}"; ' +
      "[ -e /dev/full ] || exit; degu get camera:long - > /dev/full; echo $?";
    const { stdout, stderr } = await runShell(files, line);
    assertMatch(stdout, /^0 1\n(1\n)?$/);
    const full =
      /^degu: error: camera:long: stdout can't be written: [^\n(]*[Nn]o space[^\n(]*; check where[^\n]*\n$/;
    assertMatch(stderr, stdout.endsWith("1\n1\n") ? full : /^$/);
  },
);

Deno.test(
  "serve whose stdout is full ends with this reason alone",
  ignoreIf(noBash),
  async () => {
    await using homes = await AgentHomes.create("camera");
    // The shell ends with 9 if this system lacks the device.
    const through = ["bash", "-c", '[ -e /dev/full ] || exit 9; exec "$0" "$@" > /dev/full'];
    await fill(homes.path, { inbox: null });
    const serving = ["serve", "--inbox", homes.joinPath("inbox"), "--listen", "127.0.0.1:0"];
    const args = ["--home", homes.joinPath("camera"), ...serving];
    await using agent = spawnAgent(args, { flags: ["--allow-all"], through });
    const { code, stderr } = await agent.waitForEnd();
    if (code === 9) return console.warn("there is no /dev/full: skipped");
    assertEquals(code, 1);
    assertMatch(stderr, /^degu: error: stdout can't be written: [^\n]*check where[^\n]*\n$/);
  },
);

Deno.test("get - whose file doesn't match its digest says that stdout has unverified bytes", async () => {
  await using files = await AgentFiles.start();
  const getChanged = async (text: string) => {
    await fill(files.share, { file: text });
    await using agent = files.start(["get", "camera:file", "-"], {
      onText: (to) => to === "stdout" && Deno.writeTextFileSync(`${files.share}/file`, "other"),
    });
    return await agent.waitForEnd();
  };
  for (const text of ["short", LONG_TEXT]) {
    let { code, stderr } = await getChanged(text);
    // On a busy machine, the digest may be computed before the change. The copy is then right.
    for (let i = 0; i < 20 && code === 0; i++) ({ code, stderr } = await getChanged(text));
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^degu: error: camera:file: .*; stdout has a part of the file, not verified$/m,
    );
  }
});

const terminal = { columns: 200, rows: 24 };

Deno.test("on a terminal, put - says how to end the file, and get - draws no bar into the content", async () => {
  await using files = await AgentFiles.start();
  await using agent = files.start(["put", "-", "camera:a"], { terminal, stdin: "typed\n" });
  const { code, stdout } = await agent.waitForEnd();
  assertEquals(code, 0, stdout);
  assertStringIncludes(stdout, "reading the file from the terminal: Ctrl-D ends it");
  assert(!stdout.includes("%"), "a bar over the typed text");
  await fill(files.share, { long: LONG_TEXT });
  await using get = files.start(["get", "camera:long", "-"], { terminal });
  const shown = (await get.waitForEnd()).stdout;
  assertStringIncludes(shown, LONG_TEXT);
  assert(!shown.includes("\x1b"), "a bar");
  assertMatch(shown.slice(LONG_TEXT.length), /^1 file copied, [^\n]*\r\n$/);
  await fill(files.share, { binary: "a\0b" });
  await using getBinary = files.start(["get", "camera:binary", "-"], { terminal });
  const refusal = await getBinary.waitForEnd();
  assertEquals(
    [refusal.code, refusal.stdout],
    [
      1,
      "degu: error: camera:binary: it is binary, which a terminal can't show: " +
      "write it to a file with degu get camera:binary ., or add | cat\r\n",
    ],
  );
});

Deno.test(
  "get without a target says how to write to stdout, if stdout is no terminal and the file is up to date",
  ignoreIf(noBash),
  async () => {
    await using files = await AgentFiles.start();
    await fill(files.share, { file: "1" });
    await files.runToSuccess("get", "camera:file", files.local);
    const { stderr } = await runShell(files, 'cd "$0"; degu get camera:file > content');
    assertMatch(stderr, /^to write the file to stdout, add -\n.*1 up to date\n$/);
    const second = await files.runToSuccess("get", "camera:file", files.local);
    assertMatch(second.stderr, /^.*1 up to date\n$/);
  },
);
