/** The command line: options, addresses, the device, and the messages of errors. */
import { toConnectionError } from "@degu/internal/net/transport/connection_errors.ts";
import { setErrorFlag } from "@degu/internal/internal/error_details.ts";
import { type Address, EmptyPreambleError, TlsError } from "@degu/degu/base";
import { ConnectionError, StatusError } from "@degu/degu/client";
import { DeviceError, PairingError } from "@degu/degu/device";
import {
  listen,
  parseAddressOption,
  parseConnectAddress,
  parseInvitationAddress,
  parseListenAddress,
} from "@degu/internal/agent/machine/addresses.ts";
import { formatShellCommand } from "@degu/internal/agent/terminal/shell_command.ts";
import { openClient } from "@degu/internal/agent/peer/peer_client.ts";
import {
  explain,
  explainTransfer,
  type FileAction,
  reasonOf,
} from "@degu/internal/agent/words/explain.ts";
import { exitCodeOf, isFinalError } from "@degu/internal/agent/words/error_codes.ts";
import { Failure, InterruptedError } from "@degu/internal/agent/failure.ts";
import { Output } from "@degu/internal/agent/terminal/output.ts";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { fileUri, TransferError } from "@degu/degu/files";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
} from "@degu/internal/agent/peer/remote_files.ts";
import fc from "fast-check";
import { TreeNode } from "@degu/internal/files/tree/tree.ts";
import { responseError } from "@degu/internal/files/transfer_error.ts";
import {
  blockedByOtherKindError,
  unreadableEntryError,
} from "@degu/internal/files/tree/tree_errors.ts";
import { fill, listNames } from "@degu/testing/directories.ts";
import { AgentHomes, runAgent, runAgentInProcess, spawnAgent } from "@degu/testing/agents.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { record, TestDevices } from "@degu/testing/device_pairs.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript, spawnScript } from "@degu/testing/processes.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { TextLineStream } from "@std/streams";

// The command line, and signals.

/** The commands that the program has. */
const { commands: COMMANDS } = await makeProgram(() => () => Promise.resolve());

Deno.test("without any permission the program prints the commands, its version, and the missing permission", async () => {
  const [helpEnd, missingEnd] = await Promise.all(
    [["--help"], ["id"]].map((args) => runAgent(args)),
  );
  assertEquals(await runAgentInProcess(["--help"]), helpEnd);
  assertEquals([helpEnd?.code, helpEnd?.stderr], [0, ""]);
  for (const command of COMMANDS) assertStringIncludes(helpEnd!.stdout, `  ${command.name()} `);
  assertStringIncludes(helpEnd!.stdout, "The first minute");
  assertEquals(missingEnd?.code, 1);
  const missingPattern = /(XDG_STATE_HOME|LOCALAPPDATA).*docs\/permissions\.md has the flags/;
  assertMatch(missingEnd!.stderr, missingPattern);
  const [{ version }] = await readPackages();
  for (const flag of ["--version", "-V"]) {
    assertEquals(await runAgentInProcess([flag]), { code: 0, stdout: `${version}\n`, stderr: "" });
  }
});

Deno.test("a help lists all commands, also if a command is typed behind it", async () => {
  for (
    const [args, shorterArgs] of [
      [["--help", "put"], ["--help"]],
      [["-qh", "put"], ["-qh"]],
      [["permissions", "--help", "put"], ["permissions", "--help"]],
    ] as const
  ) {
    assertEquals(await runAgentInProcess(args), await runAgentInProcess(shorterArgs));
  }
});

Deno.test("the reference has each option in the section of its command, or with the options of every command", async () => {
  const page = await readProjectFile("agent/docs/reference.md");
  const [start = "", ...sections] = page.split(/^### degu /m);
  for (const command of COMMANDS.filter(({ options }) => options.length > 0)) {
    const section = sections.find((text) => text.startsWith(`${command.name()}\n`));
    for (const { hidden, long } of command.options) {
      assert(hidden || `${start}${section}`.includes(long!), `${command.name()} ${long}`);
    }
  }
});

Deno.test("the help of each command has a description, examples, and all of its options", () => {
  for (const command of COMMANDS) {
    let help = "";
    command.configureOutput({ writeOut: (text) => help += text });
    command.outputHelp();
    assertMatch(help, new RegExp(`^Usage: degu ${command.name()}`));
    assert(command.description().length > 20 && command.summary().length > 5, command.name());
    assertMatch(help, new RegExp(`\nExamples:\n(.|\n)*degu ${command.name()}`), command.name());
    assertEquals(help.split("Examples:").length, 2, command.name());
    assertStringIncludes(help, "\n\nThe options of every command: see degu --help\n");
    // The default of an option or argument is in its description, once.
    assert(!/preset|Global Options/.test(help), command.name());
    for (const entry of help.split(/\n {2}(?=\S)/)) {
      assert((entry.match(/\(default: |\(without /g) ?? []).length <= 1, entry);
    }
    // An argument is named after what it is.
    assert(!/\n {2}dir +(?! |the directory)/.test(help), help);
    // A file is replaced with --force, or not at all.
    assert(!/without\s+--force,\s+unless/.test(help), help);
  }
});

Deno.test("degu alone prints an overview of all commands that fits a terminal of 24 lines", async () => {
  const { code, stdout } = await runAgentInProcess([]);
  const lines = stdout.split("\n");
  assert(code === 0 && lines.length <= 24 && lines.every((line) => line.length <= 80), stdout);
  const { stdout: help } = await runAgentInProcess(["--help"]);
  for (const [, name] of help.matchAll(/^ {2}([a-z]+) .* {2}/gm)) {
    if (name !== "help") assertMatch(stdout, new RegExp(`[:,] ${name}\\b`));
  }
  const lsHelp = await runAgentInProcess(["ls", "-h"]);
  assertEquals(lsHelp, await runAgentInProcess(["ls", "--help"]));
});

Deno.test("a usage error is one line, with exit code 2", async () => {
  const rows: [args: string[], expected: RegExp][] = [
    [["serve", "--listen", "nonsense"], /--listen: .* HOST an IP address of this machine/],
    [
      ["ping", "--address", "http://[::1]:1", "x"],
      /--address: must be HOST, HOST:PORT or \[IPv6\]:PORT; got /,
    ],
    [["receive", "--from", "my laptop"], /--from: must be the name of a device/],
    [["--jsno"], /unknown option '--jsno' \(Did you mean --json\?\); usage: degu COMMAND \[/],
    [
      ["service"],
      /a command is missing; usage: degu service install\|list\|remove, or --help\n/,
    ],
    [["help", "frob"], /error: unknown command 'frob'; usage: degu COMMAND /],
    [
      ["help", "snyc"],
      /error: unknown command 'snyc' \(Did you mean sync\?\); usage: degu COMMAND /,
    ],
    [
      ["service", "install", "put", "a.txt", "desk:", "--print"],
      /error: unknown command 'put'; usage: degu service install serve\|sync, or --help\n/,
    ],
    [
      ["service", "install", "--every", "1h", "sync", "a", "desk:b"],
      /error: unknown option '--every'; usage: degu service install serve\|sync, or --help\n/,
    ],
    [
      ["service", "install", "--keep", "30", "sync", "a", "desk:b"],
      /too many arguments for 'serve'.*; usage: degu service install serve\|sync, or --help\n/,
    ],
    [
      ["service", "install", "snyc", "a", "desk:"],
      /unknown command 'snyc' \(Did you mean sync\?\)/,
    ],
    [["service", "install", "serve", "x"], /too many arguments for 'serve'/],
    [
      ["restore"],
      /missing required argument 'dir'; usage: degu restore \[OPTION\]\.\.\. DIR \[NEW\], /,
    ],
    [["get", "--frob", "camera:a"], /unknown option '--frob'; usage: degu get /],
    [["serve", "x"], /too many arguments for 'serve': --share or --inbox names a directory\n/],
    [["id", "x"], /Expected 0 arguments but got 1; usage: degu id \[options\], or --help\n/],
    [["rename", "a", "to", "b"], /usage: degu rename \[options\] <peer> <name>, or --help\n/],
    [["--address", "::1", "ls", "x:"], /unknown option '--address'; usage: degu COMMAND \[/],
    [["init", "--", "--name"], /too many arguments for 'init': --name names the device\n/], // two dashes end the options
    [["--home", "", "init"], /--home: must be a directory; it is empty/], // it would be the current one,
  ];
  const [help, command] = [await runAgentInProcess(["help", "init"]), ["init", "--help"]];
  assertEquals([help.code, help], [0, await runAgentInProcess(command)]);
  const helpOfHelp = await runAgentInProcess(["help", "help"]);
  assertEquals(helpOfHelp, await runAgentInProcess(["--help"]));
  const ends = await Promise.all(rows.map(([args]) => runAgentInProcess(args)));
  for (const [i, [args, expected]] of rows.entries()) {
    const { code, stdout, stderr } = ends[i]!;
    const isJson = args.includes("--json");
    assertEquals([code, stdout !== ""], [2, isJson], args.join(" "));
    assertMatch(stderr, /^degu: error: .*\n$/, args.join(" "));
    assertMatch(stderr, expected);
  }
});

const SCRIPT = `import { catchSignals } from "./agent/program.ts";
const signals = catchSignals();
const { signal } = signals;
signal.addEventListener("abort", () => console.log(signal.reason.message));
console.log("ready");
await new Promise((resolve) => setTimeout(resolve, 60_000));`;

Deno.test("the first signal aborts the command, and the second signal ends the process", async () => {
  const child = await spawnScript(SCRIPT, ["--no-check"]);
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
    .getReader();
  assertEquals((await lines.read()).value, "ready");
  child.kill("SIGTERM");
  assertEquals((await lines.read()).value, "interrupted");
  child.kill("SIGINT");
  assertEquals((await child.status).code, 130);
  await lines.cancel();
  await child.stderr.cancel();
});

// Options.

Deno.test("a machine without IPv6 listens with IPv4 only; other errors are not retried", async () => {
  const errors = [new Failure(""), new RangeError(), new Deno.errors.NotCapable(), new Error()];
  for (const error of errors) {
    const tried: string[] = [];
    const opened = listen(
      ([host, port]) => {
        tried.push(`${host} ${port}`);
        return host === "::" ? Promise.reject(error) : Promise.resolve("open");
      },
      undefined,
      7,
    );
    const isFinal = error !== errors.at(-1);
    assertEquals(await opened.catch((error) => error), isFinal ? error : ["open"]);
    assertEquals(tried, [":: 7", ...isFinal ? [] : ["0.0.0.0 7"]]);
  }
});

Deno.test("an address may omit the port, and IPv6 then needs no brackets", () => {
  const rows = [
    ["192.168.1.7", ["192.168.1.7", 7443]],
    ["192.168.1.7:80", ["192.168.1.7", 80]],
    ["::1", ["::1", 7443]],
    ["[::1]:80", ["::1", 80]],
    ["fe80::1%eth0", ["fe80::1%eth0", 7443]],
    ["[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    ["unix:/run/degu", "/run/degu"],
  ] as const;
  for (const [text, address] of rows) {
    assertEquals(parseAddressOption(text), typeof address === "string" ? address : [...address]);
  }
});

Deno.test("an invalid address is refused with a description of a valid address", () => {
  type Row = [parse: (text: string) => unknown, texts: string[], problem: string];
  const listenForm =
    "must be HOST:PORT, [IPv6]:PORT or HOST, and HOST an IP address of this machine, 0.0.0.0 or ::";
  const rows: Row[] = [
    [
      parseAddressOption,
      ["", "a b", "http://a/", "camera.local:x", "camera.local:99999", "1.2.3.4.5"],
      "",
    ],
    [parseAddressOption, ["fe80::1"], "write it as in fe80::1%eth0"],
    [parseConnectAddress, [":7451"], "must be host:port"],
    // The default port is not a part of what was typed.
    ...["", "[::1", "[::1]x", "::1]:80"].flatMap((text) =>
      [parseAddressOption, parseConnectAddress].map((parse): Row => [
        parse,
        [text],
        `must be HOST, HOST:PORT or [IPv6]:PORT; got ${JSON.stringify(text)}`,
      ])
    ),
    [parseListenAddress, ["localhost", "localhost:80"], `${listenForm}; the host is "localhost"`],
    [parseListenAddress, ["7450"], `${listenForm}; the host is "7450"`],
    [parseListenAddress, [":7451", ""], `${listenForm}; the host is ""`],
    [parseListenAddress, ["[host]:1"], `${listenForm}; the host is "host"`],
    [parseListenAddress, ["http://127.0.0.1"], `${listenForm}; the host is "http"`],
    [parseListenAddress, ["127.0.0.1:x", "[::1]:x"], "must have a port"],
    [parseListenAddress, ["127.0.0.1:70000"], "the port must be"],
    [parseAddressOption, ["user:password@host"], "must be host:port, without a user"],
    [parseAddressOption, ["[user:password@host"], "must be HOST, HOST:PORT or [IPv6]:PORT"],
    [parseConnectAddress, ["camera.local:0"], "port must be an integer from 1 to 65535; got 0"],
    [parseAddressOption, ["[::1]:0"], "port must be an integer from 1 to 65535; got 0"],
    [parseAddressOption, ["[::1]:65536"], "from 1 to 65535; got 65536"],
    [parseConnectAddress, ["unix:/x"], "must be an IP address or a DNS name; got a Unix socket"],
    [parseInvitationAddress, ["unix:/x", "unix:@x"], "must be an IP address; got a Unix socket"],
    [parseInvitationAddress, ["localhost"], listenForm],
    [parseInvitationAddress, ["[::1]:65535"], "because the next port is also used; got 65535"],
  ];
  for (const [parse, texts, problem] of rows) {
    for (const text of texts) {
      const { message } = assertThrows(() => parse(text), Error, problem);
      assert(!/^address|password/.test(message), message);
    }
  }
  const own = ["::", "192.168.1.7", "fe80::1%eth0", "[fe80::1%3]:80", "unix:/x"];
  for (const text of own) assertEquals(parseListenAddress(text), parseAddressOption(text), text);
  assertEquals(parseListenAddress("0.0.0.0:0"), ["0.0.0.0", 0]);
  assertEquals(parseConnectAddress("camera.local"), ["camera.local", 7443]);
});

// Paths on another device.

Deno.test("PEER:[PATH] is parsed as a peer, names, and whether a directory is meant", () => {
  const cases: [text: string, peer: string, names: string[], mustBeDirectory: boolean][] = [
    ["camera:", "camera", [], true],
    ["camera:/", "camera", [], true],
    ["camera:.", "camera", [], true],
    ["camera:a", "camera", ["a"], false],
    ["camera:a//b/./c/", "camera", ["a", "b", "c"], true],
    ["camera:a/.", "camera", ["a"], true],
    ["camera:a:b/c d", "camera", ["a:b", "c d"], false],
    ["camera:日本", "camera", ["日本"], false],
  ];
  for (const [text, peer, names, mustBeDirectory] of cases) {
    assertEquals(parseRemotePath(text), { peer, names, mustBeDirectory }, text);
  }
  // A colon after a slash, or at the beginning, does not end the name of a peer.
  for (const text of ["a", "./a:b", "/a:b", ":a", "", "a/b:c"]) {
    assertEquals(isRemotePath(text), false, text);
    assertThrows(() => parseRemotePath(text), Failure, "PEER:PATH");
  }
  for (const text of ["c:..", "c:a/../b", "c:a\0", `c:${"é".repeat(128)}`, "c:\ud800"]) {
    assertEquals(assertThrows(() => parseRemotePath(text), Failure).code, "USAGE", text);
  }
});

Deno.test("any path is refused as wrong usage, or has names that stay below the share, and survives formatting and parsing", () => {
  const odd = ["a", "..", ".", "", "a b", "%2F", "\0", "%2e%2e", ".;", "..;a", "x".repeat(256)];
  const name = fc.oneof(fc.constantFrom(...odd), fc.string({ maxLength: 30, unit: "grapheme" }));
  const peer = fc.constantFrom("camera:", "camera", ":", "a:b:", "c/d:");
  fc.assert(
    fc.property(peer, fc.array(name, { maxLength: 5 }), (peer, parts) => {
      let path;
      try {
        path = parseRemotePath(peer + parts.join("/"));
      } catch (error) {
        return assert(error instanceof Failure && error.code === "USAGE", `${error}`);
      }
      for (const name of path.names) {
        assert(!["", ".", ".."].includes(name) && !/[/\0]/.test(name), name);
        fileUri(name);
      }
      assertEquals(
        parseRemotePath(formatRemotePath(path.peer, path.names, path.mustBeDirectory)),
        path,
      );
    }),
    { numRuns: 1000 },
  );
});

// The addresses that are stored for a new peer, as `degu peers` prints them.

const INVITE = ["invite", "--listen", "127.0.0.1:0"];

/**
 * Pairs the camera, which invites, with the viewer; returns the addresses that the viewer stores.
 */
async function pair(homes: AgentHomes, invite = homes.start("camera", INVITE)) {
  const line = await invite.waitForLine("degu:");
  await homes.runToSuccess("viewer", ["join", "-", "--serving", "127.0.0.1:2"], line);
  const { stderr } = await invite.waitForEnd();
  const { addresses } = JSON.parse(await homes.runToSuccess("viewer", ["peers", "--json"]));
  return { addresses, stderr };
}

Deno.test("a new peer gets the address of a running degu serve, else the machine's addresses with the default port", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const { addresses } = await pair(homes);
  assertEquals(addresses.length > 0, true);
  for (const address of addresses) assertMatch(address, /:7443$/);
  const { address } = await homes.serve("camera");
  assertEquals((await pair(homes)).addresses, [address]);
});

Deno.test("a new peer gets the address of the degu serve that runs when the other device joins", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const early = homes.start("camera", INVITE);
  await early.waitForLine("degu:");
  const { agent, address } = await homes.serve("camera");
  assertEquals((await pair(homes, early)).addresses, [address]);
  const late = homes.start("camera", INVITE);
  await late.waitForLine("degu:");
  agent.kill("SIGINT");
  await agent.waitForEnd();
  const { addresses } = await pair(homes, late);
  assertEquals(addresses.length > 0, true);
  for (const address of addresses) assertMatch(address, /:7443$/);
});

Deno.test("without the permission to list addresses no address is sent, and a message reports it", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const flags = homes.makeFlags("camera", "--allow-net=127.0.0.1");
  await using invite = spawnAgent(["--home", homes.joinPath("camera"), ...INVITE], { flags });
  const { addresses, stderr } = await pair(homes, invite);
  assertEquals(addresses, []);
  const advice = "--allow-sys=networkInterfaces is missing: give them with --serving";
  assertStringIncludes(stderr, advice);
  await homes.runToFailure("viewer", 1, "no address of camera is known", ["ping", "camera"]);
});

// The context of every command.

const FIND_HOME = `import { findHome } from "./agent/machine/open_device.ts";
const results = [];
for (const [state, home] of [["/s", "/h"], ["s", "/h"], ["", "/h"], ["", "h"], ["", ""]]) {
  Deno.env.set("XDG_STATE_HOME", state);
  Deno.env.set("HOME", home);
  try {
    results.push(await findHome(undefined));
  } catch (error) {
    results.push(error.message);
  }
}
console.log(JSON.stringify(results));`;

Deno.test("without --home the environment determines the directory of the device; a relative path is ignored", async () => {
  const flags = ["--allow-env=HOME,XDG_STATE_HOME,LOCALAPPDATA,USERPROFILE", "--no-check"];
  const advice = "name the directory of the device with --home DIR";
  const messages = [`HOME is no absolute path: ${advice}`, `HOME is not set: ${advice}`];
  assertEquals(JSON.parse(await runScript(FIND_HOME, flags, {})), [
    ...["/s/degu", "/h/.local/state/degu", "/h/.local/state/degu", ...messages],
  ]);
  // A path is relative to the current directory.
  const { code, stderr } = await runAgentInProcess(["--home", "tests/none", "id"]);
  assertEquals(code, 3);
  assertStringIncludes(stderr, `there is no device in ${Deno.cwd()}/tests/none: `);
});

Deno.test("a directory of other files is no home of a device, and gets none", async () => {
  await using homes = await AgentHomes.create();
  const left = ["identity", "lock", "lost+found", "peers", "serving", ".0123456789abcdef"];
  await fill(homes.joinPath("left"), Object.fromEntries(left.map((name) => [name, null])));
  await homes.runToFailure("left", 3, "there is no device in ", ["peers"]);
  for (const name of ["a.wav", ".bashrc"]) {
    const home = homes.joinPath(name);
    await Deno.mkdir(home, { mode: 0o700 });
    await fill(home, { [name]: "" });
    const rows = [["peers"], ["init"], ["invite"], ["serve", "--inbox", homes.joinPath("inbox")]];
    const message = `degu: error: ${home} has other files, and no device\n`;
    for (const args of rows) await homes.runToFailure(name, 1, message, args);
    assertEquals(await listNames(home), [name]);
  }
});

Deno.test("keys without the name of their device are taken over only by a name that is typed", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  const home = homes.joinPath("camera");
  const idBefore = await homes.runToSuccess("camera", ["id"]);
  await Deno.remove(`${home}/device.json`);
  const namesBefore = await listNames(home);
  const inbox = homes.joinPath("inbox");
  const message = `degu: error: the keys and 1 peer of a device are in ${home}, its name is not: ` +
    "init --name NAME takes them over\n";
  const rows = [["peers"], ["init"], ["invite"], ["serve", "--inbox", inbox], [
    "put",
    inbox,
    "viewer:",
  ]];
  for (const args of rows) await homes.runToFailure("camera", 1, message, args);
  assertEquals(await listNames(home), namesBefore);
  await homes.runToSuccess("camera", ["init", "--name", "webcam"]);
  const id = await homes.runToSuccess("camera", ["id"]);
  assertEquals(id, idBefore.replace("camera", "webcam"));
  assertStringIncludes(await homes.runToSuccess("camera", ["peers"]), "viewer");
});

Deno.test("a missing device, or a device without peers, is an error with advice", async () => {
  await using homes = await AgentHomes.create();
  const one = homes.joinPath("one");
  const noDeviceMessage = `there is no device in ${one}: run "degu pair" on this device`;
  for (const args of [["id"], ["peers"], ["ping", "x"], ["ls", "xy:"]]) {
    await homes.runToFailure("one", 3, noDeviceMessage, args);
  }
  await homes.init("camera", "viewer");
  const alone = 'this device has no peers: run "degu pair" on this device';
  await homes.runToFailure("viewer", 3, alone, ["ping", "camera"]);
});

Deno.test("the advice to pair has the --home that was typed, also in JSON, but not for the other device", async (t) => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  const home = homes.joinPath("the viewer's");
  await Deno.rename(homes.joinPath("viewer"), home);
  const command = `"degu ${formatShellCommand("--home", home, "pair")}"`;
  const here = `run ${command} on this device, and "degu pair" on the other one`;
  const rows: [expectedMessage: string, args: string[]][] = [
    [here, ["join"]],
    ['no program listens): run "degu serve" on camera', ["ping", "--no-find", "camera"]],
  ];
  await testEachRow(t, rows, async (expectedMessage, args) => {
    const { stderr } = await runAgentInProcess(["--home", home, ...args]);
    assertStringIncludes(stderr, `${expectedMessage}\n`);
    const { stdout } = await runAgentInProcess([...args, "--json", `--home=${home}`]);
    const { error } = JSON.parse(stdout.trim().split("\n").at(-1)!);
    assertStringIncludes(error.message, expectedMessage);
  });
  await homes.runToSuccess("camera", ["forget", "viewer"]);
  const { stderr } = await runAgentInProcess(["--home", homes.joinPath("camera"), "peers"]);
  assertEquals(
    stderr,
    `there are no peers: run "degu --home ${homes.joinPath("camera")} pair" on this device, ` +
      'and "degu pair" on the other one\n',
  );
});

Deno.test("advice has no --home for the default directory without the permission for the environment, as in a service", async () => {
  await using homes = await AgentHomes.create();
  const { path } = homes;
  const both = 'run "degu pair" on both devices\n';
  const env = ["--allow-env=HOME,XDG_STATE_HOME,LOCALAPPDATA,USERPROFILE"];
  const rows: [home: string, flags: string[], isDefault: boolean][] = [
    [`${path}/.local/state/degu`, env, false],
    [`${path}/.local/state/degu`, [], true],
    [`${path}/degu`, [], false],
  ];
  for (const [home, flags, isDefault] of rows) {
    const { stderr } = await runAgent(["--home", home, "id"], {
      flags: [...flags, `--allow-read=${home}`, `--allow-write=${home}`, "--allow-sys=uid"],
    });
    assertStringIncludes(stderr, `there is no device in ${home}: run `);
    assertEquals(stderr.endsWith(both), isDefault, stderr);
  }
});

Deno.test("connecting times out after 5 s, the response of a busy peer later", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(viewer, camera, { addresses: [["127.0.0.1", 1]] });
  const { signal } = new AbortController();
  for (const options of [{}, { address: ["127.0.0.1", 2] as const }]) {
    const context = { home: viewer.dir, output: new Output({}), signal, options };
    const connectTimeouts: unknown[] = [];
    using _ = patch(viewer, "client", (open) => (peer, options) => {
      connectTimeouts.push(options?.connectTimeout);
      return open.call(viewer, peer, options);
    });
    const { timeout } = await openClient(context, viewer, (await viewer.peer("camera"))!);
    assertEquals([new Set(connectTimeouts), timeout], [new Set([5]), 90]);
  }
});

// Why a command failed: exit codes and messages.

const status = (status: number) => new StatusError({ message: `status ${status}`, status });
const withCode = (message: string, code: string) => Object.assign(new Error(message), { code });

Deno.test("an error has an exit code, and a message with advice; for unreachable peers it has the reason of each address", () => {
  using _interfaces = patch(
    Deno,
    "networkInterfaces",
    () => () => [{ name: "eth0", family: "IPv4", address: "192.0.2.7" }] as never,
  );
  const { ConnectionRefused, NotCapable, TimedOut } = Deno.errors;
  const unreachable = (...attempts: Error[]) =>
    // The advice of the library is for programs.
    new DeviceError("UNREACHABLE", "x; pass the option addresses", {
      cause: new AggregateError(attempts),
    });
  const connecting = (error: Error, address: Address) =>
    toConnectionError(error, { address, isConnecting: true }) as Error;
  const closed = "camera closed the connection without an answer";
  const both = "10.0.0.1:1: no program listens; 10.0.0.2:2: the host can't be reached";
  const absent = /^: see that camera is on, in this network and runs "degu serve"$/;
  const rows: [error: unknown, code: number, reason: string, advice: RegExp][] = [
    [new Failure("as it is", "REFUSED"), 3, "as it is", /^$/],
    [new InterruptedError(), 130, "interrupted", /^$/],
    [
      new TlsError("UNTRUSTED", "why", { address: ["::1", 7443] }),
      3,
      "another device answers at [::1]:7443, or camera has a new identity",
      /^; unless its new id is in "degu peers", run "degu pair" on both devices$/,
    ],
    [
      new TlsError("REFUSED_BY_PEER", "why"),
      3,
      "camera does not trust this device any more",
      /^; run "degu pair" on both devices$/,
    ],
    [
      new TlsError("NOT_TLS", "why", { address: ["::1", 7443] }),
      1, // no device has refused
      "another program answers at [::1]:7443",
      /^$/,
    ],
    [
      new TlsError("EXPIRED", "why"),
      3,
      "the certificate of camera has expired, by the clock of this device",
      /^$/,
    ],
    [
      new EmptyPreambleError("why", { isRefusal: true }),
      3,
      closed,
      /^; .*"degu peers" on camera/,
    ],
    [new EmptyPreambleError("why"), 1, closed, /^; .*"degu peers" on camera/],
    [
      unreachable(connecting(new TimedOut("connecting why"), ["10.0.0.1", 1])),
      1,
      "camera does not answer (10.0.0.1:1: no response)",
      absent,
    ],
    [
      toConnectionError(new TimedOut("why")),
      1,
      "camera does not answer (why)",
      /^: run the same command again$/,
    ],
    [
      unreachable(
        new ConnectionError("why", { fault: "unknown name", address: ["laptop.local", 7443] }),
      ),
      1,
      "camera does not answer (laptop.local:7443: the name can't be looked up)",
      /^$/,
    ],
    // In a network namespace, this machine itself can't be reached.
    [
      unreachable(connecting(withCode("why", "ENETUNREACH"), ["127.0.0.1", 7444])),
      1,
      "camera does not answer (127.0.0.1:7444: this machine has no route)",
      /^$/,
    ],
    [
      unreachable(
        connecting(new ConnectionRefused("why"), ["10.0.0.1", 1]),
        connecting(withCode("why", "EHOSTUNREACH"), ["10.0.0.2", 2]),
      ),
      1,
      `camera does not answer (${both})`,
      /^: run "degu serve" on camera$/,
    ],
    // The cable of this machine or of the peer is unplugged.
    [
      unreachable(
        connecting(new TimedOut("why"), ["10.0.0.1", 1]),
        connecting(withCode("why", "EHOSTUNREACH"), ["10.0.0.2", 2]),
      ),
      1,
      "camera does not answer (10.0.0.1:1: no response; 10.0.0.2:2: the host can't be reached)",
      absent,
    ],
    [
      toConnectionError(new Deno.errors.ConnectionReset("why")),
      1,
      "the connection to camera was lost",
      /^; run the same command again$/,
    ],
    [new NotCapable("why"), 1, "why", /^; docs\/permissions\.md has the flags/],
    ["why", 1, "why", /^$/],
  ];
  for (const [error, code, reason, advice] of rows) {
    const text = explain(error, "camera");
    const codeAndReason = [exitCodeOf(error), reasonOf(error, "camera")];
    assertEquals(codeAndReason, [code, reason], Deno.inspect(error));
    assertEquals(text.slice(0, reason.length), reason);
    assertMatch(text.slice(reason.length), advice);
    // Without the name of a peer, the placeholder is also replaced.
    assert(!explain(error).includes("PEER"), explain(error));
  }
  const message = 'Requires all access to "/proc", run again with the --allow-all flag';
  assertEquals(explain(new NotCapable(message)), 'Deno permits no access to "/proc"');
});

Deno.test("without a network, this is the reason why no other machine answers", () => {
  using _interfaces = patch(
    Deno,
    "networkInterfaces",
    () => () => [{ name: "lo", family: "IPv4", address: "127.0.0.1" }] as never,
  );
  const attempt = (host: string, fault: ConnectionError["fault"]) =>
    new ConnectionError("why", { fault, address: [host, 7443], isConnecting: true });
  const cause = (...attempts: Error[]) => ({ cause: new AggregateError(attempts) });
  const noNetwork = "this machine has no network";
  const rows: [error: Error, text: string][] = [
    [new DeviceError("UNREACHABLE", "", cause(attempt("192.0.2.1", "timed out"))), noNetwork],
    [new DeviceError("UNREACHABLE", "", cause(attempt("a.local", "unknown name"))), noNetwork],
    [new DeviceError("UNREACHABLE", "", cause()), noNetwork],
    [new PairingError("UNREACHABLE", "", cause(attempt("192.0.2.1", "unreachable"))), noNetwork],
    [
      new DeviceError("UNREACHABLE", "", cause(attempt("127.0.0.1", "refused"))),
      'camera does not answer (127.0.0.1:7443: no program listens): run "degu serve" on camera',
    ],
    [new PairingError("NOT_OPEN", "over", cause(attempt("192.0.2.1", "refused"))), "over"],
  ];
  for (const [error, text] of rows) assertEquals(explain(error, "camera"), text);
});

Deno.test("errors of files are reworded for users", () => {
  const root = TreeNode.makeRoot();
  const node = new TreeNode(root, 'a "b"', "file", 1, 0);
  const problem =
    'HEAD "/a": the server does not report the SHA-256 of the file (repr-digest, RFC 9530)';
  const noDigestMessage = `${problem}; the server needs a FilesApp`;
  const noDigest = new TransferError("UNEXPECTED_RESPONSE", noDigestMessage, { problem });
  const again = "run the same command again";
  const own = "camera has an internal problem (status 500)";
  const onlyNew =
    "camera only accepts new files (degu serve --new-only): existing files stay as they are";
  const refused = (status: number, task: "put" | "delete", headers = {}) =>
    task === "put"
      ? responseError("PUT", "/a", { status, headers }, task)
      : responseError("DELETE", "/a/", { status, headers }, task);
  const rows: [error: unknown, direction: FileAction, text: string][] = [
    [
      responseError("PUT", "/a", { status: 507, headers: { "refusal-reason": "other-disk" } }),
      "put",
      "no space is left on the target's disk at camera, or a quota is reached",
    ],
    [status(404), "get", "it does not exist any more"],
    [status(303), "get", `it has become a directory: ${again}`],
    [
      refused(412, "put"),
      "put",
      "another file of this name exists on camera: --force replaces it",
    ],
    [refused(405, "delete", { allow: "GET, PUT" }), "delete", onlyNew],
    [
      refused(409, "delete", { "retry-after": "1" }),
      "delete",
      `another command or program is changing it on camera, or a disk is mounted there: ${again}`,
    ],
    [status(500), "put", own],
    [status(400), "put", `camera has refused it (status 400): ${again}`],
    [status(418), "put", "camera has answered with status 418"],
    [
      status(412),
      "put",
      `the file on camera changed during the transfer, and was kept: ${again}`,
    ],
    [refused(405, "put", { allow: "GET, PUT" }), "put", onlyNew],
    [
      status(503),
      "get",
      `camera is busy (status 503): ${again}`,
    ],
    [noDigest, "get", problem],
    [
      blockedByOtherKindError(node, { kind: "other", reason: "link" }),
      "get",
      "a symbolic link, which is not followed, has this name at the target",
    ],
    [
      unreadableEntryError(node),
      "get",
      "camera can't read it: see its permissions there",
    ],
  ];
  for (const [error, direction, text] of rows) {
    assertEquals(explainTransfer(error, direction, "camera"), text);
  }
});

Deno.test("the next file is tried if only one file has failed", () => {
  const goesOn = [
    ...[403, 404, 412, 413].map(status),
    new Failure("another file of this name exists"),
    new Deno.errors.PermissionDenied(),
    new Deno.errors.TimedOut("a disk"),
    new TransferError("CHANGED", ""),
    responseError("PUT", "/a", { status: 507 }),
    new TransferError("DISK_FULL", ""),
    setErrorFlag(new TransferError("BAD_LIST", ""), "isTransient", true),
  ];
  const ends = [
    status(503),
    responseError("GET", "/a", { status: 503, headers: {} }),
    toConnectionError(new Deno.errors.ConnectionRefused()),
    new TlsError("UNTRUSTED", ""),
    new EmptyPreambleError(),
  ];
  for (const error of goesOn) assertEquals(isFinalError(error), false, Deno.inspect(error));
  for (const error of ends) assertEquals(isFinalError(error), true, Deno.inspect(error));
});
