/** degu init, id, peers, rename, forget and completions. */
import { defaultName } from "@degu/internal/agent/commands/init.ts";
import { isDeviceName } from "@degu/internal/identity/names.ts";
import { AgentHomes, runAgentHere } from "@degu/testing/agents.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { hasShell, hasTerminals, runOnTerminal, runShell } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";

Deno.test("init creates a device, prints its name and id, and shows the next step; a second one changes nothing", async () => {
  await using homes = await AgentHomes.create();
  const { code, stdout, stderr } = await homes.run("one", ["init", "--name", "camera"]);
  assertEquals(code, 0);
  assertMatch(stdout, /^camera [a-z2-7]{52}\n$/);
  assertStringIncludes(stderr, '"degu invite"');
  const again = `there is a device in ${homes.at("one")} already: ${stdout.trim()}; `;
  for (const args of [["init"], ["init", "--name", "camera"], ["init", "--name", "two"]]) {
    await homes.fail("one", 1, again, args);
  }
  assertEquals(await homes.must("one", ["id"]), stdout);
  const quiet = await homes.run("two", ["init", "--name", "two", "--quiet", "--json"]);
  const { name, id, home, ...others } = JSON.parse(quiet.stdout);
  assertEquals([name, home, others, quiet.stderr], ["two", homes.at("two"), {}, ""]);
  assertEquals(JSON.parse(await homes.must("two", ["id", "--json"])), { name, id });
});

Deno.test("an invalid name is a usage error, and leaves nothing behind; that of the machine needs a permission", async () => {
  await using homes = await AgentHomes.create();
  await homes.fail("one", 1, "hostname", ["init"]);
  for (const name of ["", "a b", "-x", "x".repeat(64), "naïve"]) {
    await homes.fail("one", 2, "--name: must be 1 to 63 letters", ["init", `--name=${name}`]);
  }
  assertEquals(await entries(homes.path), []);
});

Deno.test("global options may precede the command", async () => {
  await using homes = await AgentHomes.create("one");
  assertEquals((await runAgentHere(["--home", homes.at("one"), "--json", "id"])).code, 0);
});

Deno.test("the name of a machine is converted to a valid name", () => {
  const rows = [
    ["laptop", "laptop"],
    ["laptop.example.com", "laptop"],
    ["Annas MacBook", "Annas-MacBook"],
    ["Jürgens-Büro", "Jurgens-Buro"],
    ["-x_1-", "x_1"],
    ["_.local", "device"],
    ["", "device"],
    ["東京", "device"],
    ["a".repeat(62) + "-b", "a".repeat(62)],
    ["a".repeat(80), "a".repeat(63)],
    // It would be taken for an id.
    ["a".repeat(52), "device"],
  ] as const;
  for (const [hostname, expected] of rows) {
    const name = defaultName(hostname);
    assertEquals(name, expected, hostname);
    assert(isDeviceName(name), name);
  }
});

// degu id, peers, rename and forget.

Deno.test("peers lists the trusted devices, with addresses, for users and for programs", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  const none = await homes.run("camera", ["peers"]);
  assertEquals([none.code, none.stdout], [0, ""]);
  assertStringIncludes(none.stderr, 'none yet: run "degu invite"');
  await homes.pair("camera", "viewer", "192.0.2.1:7443", "[2001:db8::1]:7444");
  assertEquals(await homes.must("camera", ["peers"]), `viewer  ${viewer}  [2001:db8::1]:7444\n`);
  const { pairedAt, ...peer } = JSON.parse(await homes.must("camera", ["peers", "--json"]));
  assertEquals(peer, { name: "viewer", id: viewer, addresses: ["[2001:db8::1]:7444"] });
  assertMatch(pairedAt, /^\d{4}-\d\d-\d\dT/);
});

Deno.test("rename changes a peer's name on this device only, unless the name is taken or invalid", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer", "other");
  await homes.pair("camera", "viewer");
  await homes.pair("camera", "other");
  assertEquals(await homes.must("camera", ["rename", "viewer", "tv"]), `tv ${viewer}\n`);
  assertEquals(await homes.must("camera", ["rename", viewer!, "TV-2"]), `TV-2 ${viewer}\n`);
  assertMatch(await homes.must("viewer", ["peers"]), /^camera /);
  for (const name of ["other", "a b", "x".repeat(64)]) {
    await homes.fail("camera", 2, /^degu: error: NAME: /, ["rename", "TV-2", name]);
  }
  await homes.fail("camera", 3, "there is no peer", ["rename", "viewer", "x"]);
});

Deno.test("a forgotten peer is refused at once, and its user is told what to do", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  const { address } = await homes.serve("camera");
  const ping = ["ping", "camera", "--address", address];
  await homes.must("viewer", ping);
  assertEquals(await homes.must("camera", ["forget", "viewer"]), `forgotten: viewer ${viewer}\n`);
  await homes.fail("viewer", 3, "pair the two again", ping);
  await homes.fail("camera", 3, "there is no peer", ["forget", "viewer"]);
});

// Completion in bash, zsh and fish.

Deno.test("each shell has its own script", async () => {
  const lines = { bash: "complete -o nospace -F", zsh: "bashcompinit", fish: "complete -c degu" };
  for (const [shell, line] of Object.entries(lines)) {
    const args = ["completions", shell, "--home", "/nowhere"];
    const { code, stdout, stderr } = await runAgentHere(args);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, line);
    const json = await runAgentHere([...args, "--json"]);
    assertEquals(JSON.parse(json.stdout), { shell, script: stdout });
  }
});

const completionScript = async (shell: string) =>
  (await runAgentHere(["completions", shell, "--home", "/nowhere"])).stdout;

/** Stands in for the program where a shell asks it for peers. */
const PEERS = `{"name":"camera","id":"a"}\n{"name":"phone","id":"b"}\n`;

const hasBash = await hasShell("bash");

Deno.test({
  name: hasBash
    ? "bash completes commands, options, directories, peers and shells"
    : "completion in bash: left out, as bash is not installed",
  ignore: !hasBash,
  fn: async () => {
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
      [`in`, "init invite"],
      [`--home /tmp in`, "init invite"],
      [`--ho`, "--home"],
      [`init --na`, "--name"],
      [`--json init --na`, "--name"],
      [`ping ''`, "camera phone"],
      [`forget ph`, "phone"],
      [`serve --share /tm`, "/tmp"],
      [`sync /tm`, "/tmp"],
      [`init --name x`, ""],
      [`serve --listen x`, ""],
      [`get --inbox ca`, "camera:"],
      [`serve --inbox /tm`, "/tmp"],
      [`ls --add`, "--address"],
      [`invite --q`, "--quiet --qr"],
      [`completions --js`, "--json"],
      [`ls ph`, "phone:"],
      [`get cam`, "camera:"],
      [`put /tm`, "/tmp"],
      [`completions f`, "fish"],
      [`help ren`, "rename"],
    ] as const;
    const lines = rows.map(([words]) => `complete_line ${words}`).join("\n");
    const completed = await runShell("bash", script + lines);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
});

const hasZsh = await hasShell("zsh") && await hasTerminals();

/** What is typed, and what it becomes with the tabulator. */
const ROWS = [
  ["degu ini", "degu init"],
  ["degu ping ph", "degu ping phone"],
  ["degu ls ca", "degu ls camera:"],
  ["degu get --inbox ca", "degu get --inbox camera:"],
  ["degu init --na", "degu init --name"],
  ["degu --home /tmp rena", "degu --home /tmp rename"],
  ["degu completions f", "degu completions fish"],
] as const;

Deno.test({
  name: hasZsh
    ? "zsh completes commands, options, peers and shells"
    : "completion in zsh: left out, as zsh or python3 is not installed",
  ignore: !hasZsh,
  fn: async () => {
    await using dir = await tempDir();
    const file = join(dir.path, "rc");
    await Deno.writeTextFile(
      file,
      `autoload -Uz compinit; compinit -u -D\n${await completionScript("zsh")}
degu() { printf '%s' '${PEERS}'; }
unsetopt beep
PS1='%% '
print loaded
`,
    );
    // With each tabulator it waits for what has to appear; Ctrl-U empties the line.
    const steps = ROWS.flatMap(([typed, expected], i) => [
      [i === 0 ? "loaded" : ROWS[i - 1]![1].split(" ").at(-1)!, `\x15${typed}\t`] as const,
      ...(i === ROWS.length - 1 ? [[expected.split(" ").at(-1)!, "\x15exit\n"] as const] : []),
    ]);
    const { shown } = await runOnTerminal({
      command: ["zsh", "-f", "-i"],
      steps: [["\x1b[?2004h", `source ${file}\n`], ...steps],
      columns: 200,
    });
    for (const [, expected] of ROWS) assertStringIncludes(shown, expected);
    // An empty suffix is not typed as two quotes.
    assert(!shown.includes("camera:''"), shown);
  },
});

const hasFish = await hasShell("fish");

Deno.test({
  name: hasFish
    ? "fish completes commands, options, peers and shells"
    : "completion in fish: left out, as fish is not installed",
  ignore: !hasFish,
  fn: async () => {
    const script = `${await completionScript("fish")}
function degu; printf '%s' '${PEERS}'; end
`;
    const rows = [
      ["in", "init invite"],
      ["init --na", "--name"],
      ["ping ", "camera phone"],
      ["forget ph", "phone"],
      ["ls ph", "phone:"],
      ["get cam", "camera:"],
      ["completions f", "fish"],
      ["help ren", "rename"],
    ] as const;
    const lines = rows.map(([line]) => `complete -C 'degu ${line}' | cut -f1 | string join ' '`);
    const completed = await runShell("fish", `${script}${lines.join("\n")}\ntrue`);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
});
