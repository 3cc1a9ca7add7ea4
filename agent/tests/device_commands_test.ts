/** degu init, id, peers, rename, forget, invite, join and completions; read-only devices. */
import { makeDefaultName } from "@degu/internal/agent/machine/open_device.ts";
import { formatId } from "@degu/internal/agent/terminal/output.ts";
import { formatCountdown } from "@degu/internal/agent/pair/shown_invitation.ts";
import { isDeviceName } from "@degu/internal/device/identity/names.ts";
import {
  AgentHomes,
  type AgentResult,
  type InProcessOptions,
  makeAgentCommand,
  runAgentCommands,
  runAgentInProcess,
  spawnAgent,
  startAgentInProcess,
} from "@degu/testing/agents.ts";
import { findObstacle, runOrThrow } from "@degu/testing/commands.ts";
import { createTempDir, fill, listNames } from "@degu/testing/directories.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import {
  findProgramObstacle,
  findTerminalObstacle,
  ignoreIf,
  runOnTerminal,
  runShell,
  screenOf,
  type TerminalOptions,
} from "@degu/testing/terminals.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join, realPath } from "@degu/internal/internal/paths.ts";

Deno.test("init creates a device, prints its name and id, and shows the next step; a second init without a name does not change the device", async () => {
  await using homes = await AgentHomes.create();
  const { code, stdout, stderr } = await homes.run("one", ["init", "--name", "camera"]);
  assertEquals(code, 0);
  assertMatch(stdout, /^camera [a-z2-7]{52}\n$/);
  assertStringIncludes(stderr, 'and "degu pair" on the other one');
  const expectedMessage =
    `there is a device in ${homes.joinPath("one")} already: ${stdout.slice(0, 15)}…; ` +
    "to rename it, add --name NAME;";
  await homes.runToFailure("one", 1, expectedMessage, ["init"]);
  assertEquals(await homes.runToSuccess("one", ["id"]), stdout);
  const quiet = await homes.run("two", ["init", "--name", "two", "--quiet", "--json"]);
  const { name, id, home, ...others } = JSON.parse(quiet.stdout);
  assertEquals([name, home, others, quiet.stderr], ["two", homes.joinPath("two"), {}, ""]);
  assertEquals(JSON.parse(await homes.runToSuccess("two", ["id", "--json"])), { name, id });
});

Deno.test("init --name renames a device: its id and its peers stay, a running serve keeps its name, and its peers keep theirs", async () => {
  await using homes = await AgentHomes.create();
  const [camera] = await homes.init("camera", "viewer", "other");
  await homes.pair("camera", "viewer");
  const { agent } = await homes.serve("camera", [], "viewer");
  // The previous name is not always that of the running serve.
  for (
    const [name, previousName] of [["attic", "camera"], ["camera", "attic"], ["garden", "camera"]]
  ) {
    const renamed = await homes.run("camera", ["init", "--name", name!]);
    assertEquals([renamed.code, renamed.stdout], [0, `${name} ${camera}\n`]);
    assertEquals(
      renamed.stderr,
      `renamed from ${previousName}; peers keep the name that they use for this device\n` +
        "a running degu serve keeps the name with which it began until it is restarted\n",
    );
  }
  assertEquals(await homes.runToSuccess("camera", ["id"]), `garden ${camera}\n`);
  assertMatch(await homes.runToSuccess("camera", ["peers"]), /^viewer /);
  await homes.runToSuccess("viewer", ["ping", "camera"]);
  agent.kill("SIGINT");
  await agent.waitForEnd();
  const same = await homes.run("camera", ["init", "--name", "garden", "--json"]);
  assertEquals(JSON.parse(same.stdout).name, "garden");
  assertEquals([same.code, same.stderr], [0, ""]);
  // A new peer gets the new name. Neither this device nor a peer can get the name of the other.
  const invite = homes.start("camera", INVITE);
  const joined = await homes.run("other", ["join", await invite.waitForLine("degu:"), ...SERVING]);
  assertMatch(joined.stdout, /^paired with garden /);
  assertEquals((await invite.waitForEnd()).code, 0);
  await homes.runToFailure("camera", 2, '--name: the name "Viewer" is taken, by the peer', [
    ...["init", "--name", "Viewer"],
  ]);
  const own = 'the name "GARDEN" is taken, by this device itself; choose another name';
  await homes.runToFailure("camera", 2, `NAME: ${own}`, ["rename", "viewer", "GARDEN"]);
  await homes.runToFailure("camera", 2, `--as: ${own}`, [...INVITE, "--as", "GARDEN"]);
});

Deno.test("a command with a wrong argument creates no device", async (t) => {
  await using homes = await AgentHomes.create("camera");
  using _name = patch(Deno, "hostname", () => () => "machine");
  await fill(homes.path, { file: "", share: null });
  const joinPath = (...names: string[]) => homes.joinPath(...names);
  const invite = homes.start("camera", INVITE);
  const line = await invite.waitForLine("degu:");
  await using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const usedPort = `127.0.0.1:${listener.addr.port}`;
  const local = ["--listen", "127.0.0.1:0"];
  const share = ["serve", "--share", joinPath("share")];
  const otherMachine = "203.0.113.7:0";
  const rows: [args: string[], stdin?: string][] = [
    [["init", "--name", "a/b"]],
    ...[
      ["--as", "a/b"],
      ...["224.0.0.1:1", "10.0.0.1:0"].map((text) => ["--serving", text]),
      Array(7).fill(["--serving", "10.0.0.1:1"]).flat(),
    ]
      .flatMap((option): [string[]][] => [[[...INVITE, ...option]], [["join", line, ...option]]]),
    [["invite", "--seconds", "0"]],
    [["invite", "--listen", "127.0.0.1:65535"]],
    [["invite", "--listen", usedPort]],
    [["join", line.slice(0, -1)]],
    [["join", "-"]],
    [["serve", "--share", joinPath("none"), ...local]],
    [["serve", "--share", joinPath("file"), ...local]],
    [["serve", "--inbox", joinPath("none", "inbox"), ...local]],
    [["serve", "--share", joinPath("share"), "--inbox", joinPath("share"), ...local]],
    [[...share, "--listen", otherMachine]],
    [[...share, "--listen", "1"]],
    [["service", "install", "--share", joinPath("share"), "--listen", "unix:/run/degu"]],
    [["service", "install", "--share", joinPath("share"), "--listen", "camera"]],
  ];
  const table = rows.map(([args, stdin]) =>
    [
      `${args.join(" ").replaceAll(homes.path, "").replaceAll(line, "LINE")} ${stdin}`,
      args,
      stdin,
    ] as const
  );
  await testEachRow(t, table, async (_rule, args, stdin = "") => {
    const { code, stderr } = await homes.run("new", args, { stdin });
    assert(code !== 0 && stderr !== "", stderr);
    assertEquals((await listNames(homes.path)).toSorted(), ["camera", "file", "share"], stderr);
  });
  invite.kill("SIGINT");
  await invite.waitForEnd();
});

Deno.test("invite, join and serve create a missing device with the name of the machine, and report it; ls does not", async () => {
  await using homes = await AgentHomes.create("camera");
  const invite = homes.start("camera", INVITE);
  const steps = [
    { home: "inviter", args: INVITE, until: "degu:" },
    { home: "joiner", args: ["join", await invite.waitForLine("degu:"), ...SERVING] },
    { home: "server", args: [...SERVE, "--inbox"], until: "addr" },
    { home: "server", args: ["id"] },
    { home: "named", args: ["init"] },
    { home: "other", args: ["ls", "camera:"] },
  ];
  const ends: AgentResult[] = [];
  for (const { home, args, until } of steps) {
    using _name = patch(Deno, "hostname", () => () => "machine.lan");
    using _home = patch(
      Deno.env,
      "get",
      (get) => (variable) => variable === "HOME" ? homes.path : get.call(Deno.env, variable),
    );
    await using agent = homes.start(home, args);
    if (until !== undefined) {
      await agent.waitForLine(until);
      agent.kill("SIGINT");
    }
    ends.push(await agent.waitForEnd());
  }
  assertEquals(ends.map(({ code }) => code), [130, 0, 0, 0, 0, 3]);
  const [name] = ends[4]!.stdout.split(" ");
  assertEquals(name, "machine");
  for (const [i, home] of ["inviter", "joiner", "server"].entries()) {
    const id = (await homes.runToSuccess(home, ["id"])).trim();
    assertEquals(id.split(" ")[0], name);
    const messages = ends[i]!.stderr.match(/created the device .*/g);
    const deviceText = `${name} ${formatId(id.split(" ")[1]!)}`;
    assertEquals(messages, [`created the device ${deviceText} in ${homes.joinPath(home)}`]);
  }
  assertEquals(JSON.parse(ends[2]!.stdout).inbox, await realPath(homes.joinPath("Inbox")));
  assert(!ends[3]!.stderr.includes("created"), ends[3]!.stderr);
  // If the name can't be read, the error says that the device is missing.
  const none = homes.joinPath("none");
  const noDeviceMessage = `there is no device in ${none}, and its name needs --allow-sys`;
  const [line = ""] = ends[0]!.stdout.split("\n");
  for (const args of [INVITE, ["join", line], ["serve", "--inbox"]]) {
    await homes.runToFailure("none", 1, noDeviceMessage, args);
  }
  assertEquals(await listNames(none).catch(() => null), null);
});

Deno.test("the name of a machine is converted to a valid name", () => {
  const rows = [
    ["Annas MacBook", "Annas-MacBook"],
    ["Jürgens-Büro", "Jurgens-Buro"],
    ["", "device"],
    ["東京", "device"],
    ["a".repeat(62) + "-b", "a".repeat(62)],
    // A name of this form would look like an id.
    ["a".repeat(52), "device"],
  ] as const;
  for (const [hostname, expected] of rows) {
    const name = makeDefaultName(hostname);
    assertEquals(name, expected, hostname);
    assert(isDeviceName(name), name);
  }
});

// degu id, peers, rename and forget.

Deno.test("peers lists the trusted devices, with addresses, for users and for programs", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  const emptyEnd = await homes.run("camera", ["peers"]);
  assertEquals([emptyEnd.code, emptyEnd.stdout], [0, ""]);
  assertStringIncludes(emptyEnd.stderr, "there are no peers: run ");
  await homes.pair("camera", "viewer", "192.0.2.1:7443", "[2001:db8::1]:7444");
  const list = await homes.runToSuccess("camera", ["peers"]);
  assertEquals(list, `viewer  ${viewer}  [2001:db8::1]:7444\n`);
  const { pairedAt, ...peer } = JSON.parse(await homes.runToSuccess("camera", ["peers", "--json"]));
  assertEquals(peer, { name: "viewer", id: viewer, addresses: ["[2001:db8::1]:7444"] });
  // There are peers, whose files are damaged.
  await Deno.truncate(`${homes.joinPath("camera")}/peers/${viewer}.json`, 20);
  const damaged = await homes.run("camera", ["peers"]);
  assertMatch(damaged.stderr, /is not used: .*\nthere are no peers: run /);
  assertMatch(pairedAt, /^\d{4}-\d\d-\d\dT/);
});

Deno.test("rename changes a peer's name on this device only, unless the name is taken or invalid", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer", "other");
  await homes.pair("camera", "viewer");
  await homes.pair("camera", "other");
  for (const [peer, name] of [["viewer", "tv"], [viewer!, "TV"], ["TV", "TV-2"]] as const) {
    const { stdout, stderr } = await homes.run("camera", ["rename", peer, name]);
    assertEquals(stdout, `${name} ${formatId(viewer!)}\n`);
    const note =
      "in the inbox, its files stay where they are, and new files go to a directory of " +
      `the name ${name}\n`;
    assertEquals(stderr, name === "TV" ? "" : note);
  }
  assertMatch(await homes.runToSuccess("viewer", ["peers"]), /^camera /);
  for (const name of ["other", "a b", "x".repeat(64)]) {
    await homes.runToFailure("camera", 2, /^degu: error: NAME: /, ["rename", "TV-2", name]);
  }
  await homes.runToFailure("camera", 3, "there is no peer", ["rename", "viewer", "x"]);
});

Deno.test("a forgotten peer is refused at once, with advice", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  const { address } = await homes.serve("camera");
  const ping = ["ping", "camera", "--address", address];
  await homes.runToSuccess("viewer", ping);
  const { stdout, stderr } = await homes.run("camera", ["forget", "viewer"]);
  assertEquals([stdout, stderr], [
    `forgotten: viewer ${formatId(viewer!)}\n`,
    "on this device only: its files stay, and the trust of your other devices is unchanged\n",
  ]);
  await homes.runToFailure("viewer", 3, 'and "degu pair" on the other one', ping);
  await homes.runToFailure("camera", 3, "there is no peer", ["forget", "viewer"]);
});

Deno.test("a peer whose file can't be used is forgotten by its id, and by the name in a file of another version", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer = ""] = await homes.init("camera", "viewer");
  const peers = `${homes.joinPath("camera")}/peers`;
  const otherVersion = '{"version":2,"name":"viewer"}';
  await Deno.writeTextFile(`${peers}/${viewer}.json`, "{", { mode: 0o600 });
  const advice = "; pair the two devices again\n";
  await homes.runToFailure("camera", 3, advice, ["ping", viewer]);
  await homes.runToFailure("camera", 3, advice, ["ping", "viewer"]);
  const rows = [[otherVersion, "viewer"], [otherVersion, viewer], ["{", viewer]] as const;
  for (const [text, peer] of rows) {
    await Deno.writeTextFile(`${peers}/${viewer}.json`, text, { mode: 0o600 });
    const { code, stdout } = await homes.run("camera", ["forget", peer]);
    assertEquals([code, stdout, await listNames(peers)], [0, `forgotten: ${peer}\n`, []]);
  }
});

const [own = null] = Deno.networkInterfaces()
  .filter(({ family, address }) => family === "IPv4" && !/^(127|169\.254)\./.test(address))
  .map(({ address }) => address);

Deno.test(
  "an --address at which the peer has answered is stored, unless another device answers at it, or it is an address of this machine",
  ignoreIf(own === null ? "this machine has a loopback address only" : null),
  async () => {
    await using homes = await AgentHomes.create();
    await homes.init("camera", "viewer", "other");
    await homes.pair("camera", "viewer");
    await homes.pair("other", "viewer");
    const serve = async (name: string) => {
      const listen = ["--listen", `${own}:0`, "--listen", "127.0.0.1:0"];
      const inbox = ["--inbox", homes.joinPath(`inbox of ${name}`)];
      const args = ["serve", "--json", "--no-announce", ...inbox, ...listen];
      const { addresses } = JSON.parse(await homes.start(name, args).waitForLine());
      return addresses as [ofNetwork: string, loopback: string];
    };
    const listStoredAddresses = async () => {
      const peers = await homes.runToSuccess("viewer", ["peers", "--json"]);
      return JSON.parse(peers.split("\n")[0]!).addresses;
    };
    const [camera, loopback] = await serve("camera");
    const [other] = await serve("other");
    const addressesBefore = await listStoredAddresses();
    const ping = (address: string) => ["ping", "camera", "--address", address];
    await homes.runToSuccess("viewer", ping(loopback));
    await homes.runToSuccess("viewer", ping(loopback.replace("127.0.0.1", "localhost")));
    await homes.runToSuccess("viewer", ping(loopback.replace("127.0.0.1", "0.0.0.0")));
    const refused = await homes.run("viewer", ping(other));
    assertEquals(refused.code, 3, refused.stderr);
    assertEquals(await listStoredAddresses(), addressesBefore);
    await homes.runToSuccess("viewer", ping(camera));
    assertEquals(await listStoredAddresses(), [camera, ...addressesBefore]);
    await homes.runToSuccess("viewer", ["ping", "--no-find", "camera"]);
  },
);

Deno.test("ping prints the path of a peer's Unix socket", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  const address = `unix:${homes.joinPath("socket")}`;
  const inbox = ["--inbox", homes.joinPath("inbox")];
  await homes.start("camera", ["serve", "--json", "--listen", address, ...inbox]).waitForLine();
  const args = ["ping", "camera", "--json", "--address", address];
  assertEquals(JSON.parse(await homes.runToSuccess("viewer", args)).address, address);
});

// Completion in bash, zsh and fish.

Deno.test("each shell has its own script", async () => {
  const lines = { bash: "complete -o nospace -F", zsh: "bashcompinit", fish: "complete -c degu" };
  for (const [shell, line] of Object.entries(lines)) {
    const args = ["completions", shell, "--home", "/nowhere"];
    const { code, stdout, stderr } = await runAgentInProcess(args);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, line);
    const json = await runAgentInProcess([...args, "--json"]);
    assertEquals(JSON.parse(json.stdout), { shell, script: stdout });
  }
});

const completionScript = async (shell: string) =>
  (await runAgentInProcess(["completions", shell, "--home", "/nowhere"])).stdout;

const PEERS = `{"name":"camera","id":"a"}\n{"name":"phone","id":"b"}\n`;

const noBash = await findProgramObstacle("bash");

Deno.test(
  "bash completes commands, options, directories, peers and shells",
  ignoreIf(noBash),
  async () => {
    const script = `${await completionScript("bash")}
degu() { printf '%s' '${PEERS}'; }
complete_line() {
  COMP_WORDS=(degu "$@"); COMP_CWORD=$#; COMPREPLY=()
  _degu
  local IFS=' '
  printf '%s\\n' "\${COMPREPLY[*]}" | sed 's/  */ /g; s/ $//'
}
`;
    const rows = [
      [`--home /tmp in`, "invite init"],
      [`ping ''`, "camera phone"],
      [`serve --share /tm`, "/tmp"],
      [`get --inbox ca`, "camera:"],
      [`get camera : tm`, ""],
      [`put /tm`, "/tmp"],
      [`completions f`, "fish"],
      [`service in`, "install"],
      [`service install --share /tm`, "/tmp"],
      [`service install sync --del`, "--delete --delete-all"],
      [`service install sync cam`, "camera:"],
      [`put --force serve --sh`, ""],
    ] as const;
    const lines = rows.map(([words]) => `complete_line ${words}`).join("\n");
    const completed = await runShell("bash", script + lines);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
);

const noTerminal = await findTerminalObstacle();

/** The input, and its completion with the tabulator. */
const ROWS = [
  ["degu ping ph", "degu ping phone"],
  ["degu ls ca", "degu ls camera:"],
  ["degu get --inbox ca", "degu get --inbox camera:"],
  ["degu init --na", "degu init --name"],
  ["degu service install sync --che", "degu service install sync --checksum"],
] as const;

for (
  const [shell, flags, prepare] of [
    ["bash", ["--norc"], "unset HISTFILE"],
    ["zsh", ["-f"], "autoload -Uz compinit; compinit -u -D; unsetopt beep"],
  ] as const
) {
  const obstacle = await findProgramObstacle(shell) ?? noTerminal;
  Deno.test(`${shell} completes what is typed at a terminal`, ignoreIf(obstacle), async () => {
    await using dir = await createTempDir();
    const file = join(dir.path, "rc");
    await Deno.writeTextFile(
      file,
      `${prepare}\n${await completionScript(shell)}
degu() { printf '%s' '${PEERS}'; }
PS1='%% '
echo loaded
`,
    );
    // After each tabulator, wait for the expected text; Ctrl-U empties the line.
    const steps = ROWS.flatMap(([typed, expected], i) => [
      [i === 0 ? "loaded" : ROWS[i - 1]![1].split(" ").at(-1)!, `\x15${typed}\t`] as const,
      ...(i === ROWS.length - 1 ? [[expected.split(" ").at(-1)!, "\x15exit\n"] as const] : []),
    ]);
    const { shown } = await runOnTerminal({
      command: [shell, ...flags, "-i"],
      steps: [["\x1b[?2004h", `source ${file}\n`], ...steps],
      columns: 200,
    });
    for (const [, expected] of ROWS) assertStringIncludes(shown, expected);
    // The completion doesn't add two quotes for an empty suffix.
    assert(!shown.includes("camera:''"), shown);
  });
}

Deno.test(
  "fish completes commands, options, peers and shells",
  ignoreIf(await findProgramObstacle("fish")),
  async () => {
    const script = `${await completionScript("fish")}
function degu
    printf '%s' '${PEERS}'
end
`;
    const rows = [
      ["--home /tmp in", "init invite"],
      ["init --na", "--name"],
      ["ping ", "camera phone"],
      ["ls ph", "phone:"],
      ["put /tm", "/tmp/"],
      // A path on a peer is not completed with local files.
      ["get camera:/tm", ""],
      ["service install sync cam", "camera:"],
      ["put --force serve --sh", ""],
    ] as const;
    const lines = rows.map(([line]) => `echo (complete -C 'degu ${line}' | cut -f1)`);
    const completed = await runShell("fish", `${script}${lines.join("\n")}\ntrue`);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
);

// degu invite: the line, the countdown, and the end.

const INVITE = ["invite", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:1"];
const SERVE = ["serve", "--listen", "127.0.0.1:0", "--json"];
const NET = ["--allow-net=127.0.0.1"];

/** The options with which a device joins. */
const SERVING = ["--serving", "127.0.0.1:2"];

Deno.test("invite prints the line and then the joined device on stdout, and mentions degu join -; a second device is refused", async () => {
  await using homes = await AgentHomes.create("other");
  const [camera, viewer] = await homes.init("camera", "viewer");
  const invite = homes.start("camera", INVITE);
  const line = await invite.waitForLine("degu:");
  const joined = await homes.run("viewer", ["join", line, ...SERVING, "--as", "door"]);
  assertEquals([joined.code, joined.stdout], [0, `paired with door ${formatId(camera!)}\n`]);
  const { code, stdout, stderr } = await invite.waitForEnd();
  assertEquals([code, stdout], [0, `${line}\npaired with viewer ${formatId(viewer!)}\n`]);
  assertStringIncludes(stderr, '"degu join -"');
  await homes.runToFailure("other", 3, "no invitation is open", ["join", line, ...SERVING]);
  const expectedMessage = '--as: the name "DOOR" is taken, by the peer with the id ';
  await homes.runToFailure("viewer", 2, expectedMessage, [...INVITE, "--as", "DOOR"]);
  const third = await homes.start("other", INVITE).waitForLine("degu:");
  const joinArgs = ["join", third, ...SERVING, "--as", "DOOR"];
  await homes.runToFailure("viewer", 2, expectedMessage, joinArgs);
  // With --json the line and the peer are one object each.
  const secondInvite = homes.start("camera", [...INVITE, "--json", "--quiet", "--as", "tv"]);
  const first = JSON.parse(await secondInvite.waitForLine());
  assertMatch(first.expires, /^\d{4}-/);
  const wrapped = first.line.replaceAll(/(.{60})/g, "$1\n  ");
  // A file with the output of invite goes on.
  await homes.runToSuccess("viewer", ["join", "-", ...SERVING], `${wrapped}\npaired with viewer`);
  const ended = await secondInvite.waitForEnd();
  assertEquals([ended.code, ended.stderr], [0, ""]);
  const addresses = ["127.0.0.1:2"];
  assertEquals(JSON.parse(ended.stdout.split("\n")[1]!), { name: "tv", id: viewer, addresses });
});

Deno.test("invite and join end with what pair prints: the pairing, and the commands that come next", async () => {
  await using homes = await AgentHomes.create();
  let machine = "one";
  using _name = patch(Deno, "hostname", () => () => machine);
  using _environment = patch(Deno.env, "get", () => () => homes.joinPath(machine));
  await using invite = startAgentInProcess(INVITE);
  const line = await invite.waitForLine("degu:");
  machine = "two";
  const joined = await runAgentInProcess(["join", line, ...SERVING]);
  const next = (name: string) =>
    `\nto receive its files, run "degu serve --inbox ~/Inbox"; to send it a file, run "degu put FILE ${name}:"\n`;
  for (
    const [{ stdout, stderr }, name] of [[joined, "one"], [
      await invite.waitForEnd(),
      "two",
    ]] as const
  ) {
    assertMatch(stdout, new RegExp(`(^|\\n)paired with ${name} .*\\n$`));
    assert(stderr.endsWith(next(name)), stderr);
  }
});

Deno.test("an interrupted invitation is closed", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const invite = homes.start("camera", INVITE);
  const line = await invite.waitForLine("degu:");
  await invite.waitForMessage("degu join");
  invite.kill("SIGINT");
  const { code, stderr } = await invite.waitForEnd();
  assertEquals(code, 130);
  assertStringIncludes(stderr, "interrupted");
  const expectedMessage =
    /no invitation is open at an address of the line; run "degu invite" again on the other device/;
  await homes.runToFailure("viewer", 3, expectedMessage, ["join", line, ...SERVING]);
});

Deno.test(
  "invite can be piped into join, on another machine too: both succeed",
  ignoreIf(noBash),
  async () => {
    await using homes = await AgentHomes.create();
    const [camera] = await homes.init("camera", "viewer");
    const of = (name: string, ...args: string[]) => {
      const all = ["--home", homes.joinPath(name), "--quiet", ...args];
      return makeAgentCommand(all, homes.makeFlags(name, ...NET)).join(" ");
    };
    const join = of("viewer", "join", "-", ...SERVING);
    const script = `${of("camera", ...INVITE)} | ${join}; echo "\${PIPESTATUS[*]}"`;
    assertEquals(await runShell("bash", script), `paired with camera ${formatId(camera!)}\n0 0\n`);
  },
);

const TERMINAL = { columns: 80, rows: 24 };
const INVITE_FOR = [...INVITE, "--seconds"];

Deno.test("an unused invitation expires in time; on a terminal it counts down, and its error is red", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const run = (args: readonly string[], options: InProcessOptions = {}) =>
    homes.run("camera", [...INVITE_FOR, ...args], options);
  const terminal = TERMINAL;
  const [plain, shown, colorless] = await Promise.all([
    run(["1"]),
    run(["2"], { terminal }),
    run(["1", "--quiet"], { terminal, noColor: true }),
  ]);
  assertEquals([plain, shown, colorless].map(({ code }) => code), [1, 1, 1]);
  assertMatch(plain.stdout, /^degu:[\w-]+\n$/);
  assertStringIncludes(plain.stderr, "no device has joined in time: ");
  for (const time of ["0:02", "0:01"]) {
    assertStringIncludes(shown.stdout, `\r\x1b[Kwaiting for the other device: ${time} left`);
  }
  assertStringIncludes(shown.stdout, "\r\x1b[Kdegu: \x1b[31merror\x1b[0m: no device has joined");
  assertStringIncludes(colorless.stdout, "degu: error: no device has joined");
  const isPlain = !["waiting", "\x1b"].some((each) => colorless.stdout.includes(each));
  assert(isPlain, colorless.stdout);
});

Deno.test("invite reports why a device that has joined can't be stored", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const peers = homes.joinPath("camera", "peers");
  const invite = homes.start("camera", [...INVITE_FOR, "60"]);
  const line = await invite.waitForLine("degu:");
  await Deno.remove(peers);
  await Deno.writeTextFile(peers, "");
  assertEquals((await homes.run("viewer", ["join", line.trim()])).code, 3);
  const { code, stderr } = await invite.waitForEnd();
  assertEquals([code, stderr.includes("no device has joined")], [1, false], stderr);
  assertStringIncludes(stderr, `\ndegu: error: ${JSON.stringify(peers)}: `);
});

Deno.test("the joined device has a line without the countdown; a line pasted in pieces is requested again only after a pause", async () => {
  await using homes = await AgentHomes.create("camera");
  const [id] = await homes.init("viewer");
  const terminal = { columns: 2000, rows: 24 };
  const invite = homes.start("camera", [...INVITE_FOR, "60"], { terminal });
  const line = (await invite.waitForLine("degu:")).trim().match(/.{1,79}/g)!;
  const options = { terminal: TERMINAL, stdin: null };
  const viewer = homes.start("viewer", ["join", "-", ...SERVING], options);
  await viewer.waitForLine("paste the line");
  for (const piece of line) viewer.writeInput(`${piece}\n`);
  const { code, stdout: shown } = await viewer.waitForEnd();
  assertEquals(code, 0, shown);
  assert(!shown.includes("incomplete"), shown);
  const lastLine = screenOf((await invite.waitForEnd()).stdout).at(-1);
  assertEquals(lastLine, `paired with viewer ${formatId(id!)}`);
});

Deno.test(
  "join asks for the line on a terminal, and an interrupt by the keyboard ends it",
  ignoreIf(noTerminal),
  async () => {
    const steps = [["paste the line", "degu:AAAA\n"], ["the line is incomplete", "\x03"]] as const;
    await interruptOnTerminal(["join", "-", ...SERVING], { steps });
  },
);

/** Runs a command on a real terminal, whose keyboard interrupts the command; returns its output. */
async function interruptOnTerminal(
  args: readonly string[],
  options: Omit<TerminalOptions, "command">,
) {
  await using homes = await AgentHomes.create("camera");
  const all = ["--home", homes.joinPath("camera"), ...args];
  const command = makeAgentCommand(all, homes.makeFlags("camera", ...NET));
  const { code, shown } = await runOnTerminal({ ...options, command });
  assertEquals(code, 130, shown);
  return shown;
}

Deno.test("a countdown shows the remaining minutes and seconds", () => {
  const countdowns = [600_000, 599_999, 61_000, 1, 0, -5].map((milliseconds) =>
    /other device: (.*) left/.exec(formatCountdown(milliseconds))?.[1]
  );
  assertEquals(countdowns, ["10:00", "10:00", "1:01", "0:01", "0:00", "0:00"]);
});

// degu join: the pasted line, and the device that it pairs with.

Deno.test("a line ends when it is complete, at an empty line, or at the end of the input", async () => {
  await using homes = await AgentHomes.create("camera");
  const line = await homes.start("camera", INVITE).waitForLine("degu:");
  const [half, rest] = [line.slice(0, 60), line.slice(60)];
  const ownLineMessage = "it is this device itself";
  const rows: [expectedMessage: string, pieces: string[], endsInput?: boolean][] = [
    [ownLineMessage, [half, rest, "\n"]],
    [ownLineMessage, [line], true],
    ["error: the line is garbled", [`${half}\n`, "\n"]],
    ["the line is garbled", [line.replace("degu:A", "degu:B")], true],
    ['the line must begin with "degu:"', ["hello\n"]],
    [ownLineMessage, [`${line}\npaired with viewer\n`]],
    ["stdin is empty", [], true],
    ["not the line of an invitation", ["degu:", "A".repeat(65_536)]],
  ];
  for (const [expectedMessage, pieces, endsInput = false] of rows) {
    const join = homes.start("camera", ["join", "-", ...SERVING], { stdin: null });
    for (const piece of pieces) join.writeInput(piece);
    if (endsInput) join.writeInput("", true);
    const { code, stderr } = await join.waitForEnd();
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, expectedMessage);
    if (endsInput && pieces.length > 0) {
      await homes.runToFailure("camera", 2, expectedMessage, ["join", pieces[0]!, ...SERVING]);
    }
  }
  const waiting = homes.start("camera", ["join", "-", ...SERVING], { stdin: null });
  waiting.kill("SIGINT");
  assertEquals((await waiting.waitForEnd()).code, 130);
});

Deno.test("join with another text, or without a line, names degu pair", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const advice = ' pair" on this device, and "degu pair" on the other one\n';
  for (const args of [[], ["laptop"], ["192.168.1.7:7443"], ["-"]]) {
    await homes.runToFailure("camera", 2, advice, ["join", ...args, ...SERVING]);
  }
  for (const stdin of ["laptop\n", "A".repeat(70_000)]) {
    const { code, stderr } = await homes.run("camera", ["join", "-", ...SERVING], { stdin });
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, advice);
  }
});

// A directory of a device that can't be written.

/** A command that runs another command as an unprivileged user who owns the same files. */
const AS_USER = ["unshare", "--user", "--map-user=54321"];
const readOnlyMount = (path: string) => [
  ...THROUGH_MOUNT_NAMESPACE,
  ...["sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', path],
];
const readOnlyDirectories = [
  ["by its mode", await findObstacle([...AS_USER, "true"]), () => AS_USER],
  ["by its mount", await findMountObstacle(), readOnlyMount],
] as const;
for (const [label, obstacle, makeThrough] of readOnlyDirectories) {
  Deno.test(
    `a device whose directory is read-only ${label} reads its state, transfers files and serves, and only changes fail`,
    ignoreIf(obstacle),
    async () => {
      await using homes = await AgentHomes.create("camera", "viewer");
      await homes.pair("camera", "viewer");
      const share = homes.joinPath("share");
      await fill(homes.path, { "share/a": "1", "source/b": "2", "viewer-inbox": null });
      const directories = ["--share", share, "--inbox", homes.joinPath("camera-inbox")];
      const { address } = await homes.serve("camera", directories, "viewer");
      const viewer = homes.joinPath("viewer");
      await runOrThrow(["bash", "-c", 'chmod -R a-w "$0"', viewer]);
      const through = makeThrough(viewer);
      const source = homes.joinPath("source");
      const commands: [args: string[], output: RegExp | null][] = [
        [["id"], /^viewer /],
        [["peers"], /camera/],
        [["ping", "--no-find", "camera"], /ms/],
        [["ls", "--no-find", "--address", address, "camera:"], /^a\n$/],
        [["get", "--no-find", "-r", "camera:", homes.joinPath("got")], /^/],
        [["put", "--no-find", "-r", source, "camera:"], /^/],
        [["sync", "--no-find", source, "camera:synced"], /^/],
        [["rename", "camera", "other"], null],
        [["forget", "camera"], null],
      ];
      const atViewer = commands.map(([args]) => ["--home", viewer, ...args]);
      const ends = await runAgentCommands(atViewer, through);
      const readOnlyPattern = /lock": (?:read-only file system|permission denied)/;
      for (const [i, { code, stdout, stderr }] of ends.entries()) {
        const [args, output] = commands[i]!;
        assertEquals(code, output === null ? 1 : 0, `${args[0]}: ${stderr}`);
        if (output !== null) assertMatch(stdout, output);
        else assertMatch(stderr, readOnlyPattern);
      }
      assertEquals(await Deno.readTextFile(homes.joinPath("got", "a")), "1");
      const serveArgs = ["--home", viewer, ...SERVE, "--share", source];
      await using server = spawnAgent(serveArgs, { flags: ["--allow-all"], through });
      const { addresses: [servedAddress] } = JSON.parse(await server.waitForLine());
      await server.waitForMessage("the address of a server can't be recorded");
      const args = ["ls", "--address", servedAddress, "viewer:"];
      assertEquals(await homes.runToSuccess("camera", args), "b\n");
      await runOrThrow(["bash", "-c", 'chmod -R u+w "$0"', viewer]);
    },
  );
}
