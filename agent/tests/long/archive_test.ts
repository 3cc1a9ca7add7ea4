/** The archive of `deno task archive`: its packages and its program, without a registry. */
import { readInstallFlags } from "../agent_documentation.ts";
import { AgentHomes, watch } from "@degu/testing/agents.ts";
import { findObstacle, makeDenoCommand, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { fill } from "@degu/testing/directories.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { isInexpressible, SHELL_NAMES } from "../shell_names.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { encodeLine } from "@degu/internal/device/pairing/invitation_line.ts";
import { dirname, fromFileUrl, join } from "@std/path";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

const PROJECT = fromFileUrl(new URL("../../..", import.meta.url));
/** Runs the appended command, which `--allow-run` of the tests doesn't name, with an own cache. */
const BASH = [
  ...["bash", "-c", 'unset DENO_DIR DENO_INSTALL_ROOT; PATH="$0:$PATH" exec "$@"'],
  dirname(Deno.execPath()),
];
/** A proxy that refuses each connection, and an empty cache: nothing can be loaded. */
const OFFLINE = { HTTPS_PROXY: "http://127.0.0.1:1", HTTP_PROXY: "http://127.0.0.1:1" };

/** Unpacks an archive into a directory with spaces, moves it, and returns its new path. */
async function unpack(homes: AgentHomes): Promise<{ list: string; project: string }> {
  const archiveDirectory = homes.joinPath("dist");
  await runOrThrow([Deno.execPath(), "task", "--cwd", PROJECT, "archive", archiveDirectory]);
  const [{ name } = { name: "" }] = await Array.fromAsync(Deno.readDir(archiveDirectory));
  const archive = join(archiveDirectory, name);
  await fill(homes.path, { "first place": null });
  await runOrThrow([...BASH, "tar", "-xzf", archive, "-C", homes.joinPath("first place")]);
  const project = homes.joinPath("a project");
  await Deno.rename(homes.joinPath("first place"), project);
  return { list: await runOrThrow([...BASH, "tar", "-tvzf", archive]), project };
}

Deno.test("programs of the archive need no registry, and every user can read it", async () => {
  await using homes = await AgentHomes.create();
  const { list, project } = await unpack(homes);
  const modes = list.trimEnd().split("\n").filter((line) =>
    !/^(?:-rw-r--r--|drwxr-xr-x) /.test(line)
  );
  assertEquals(modes, []);
  const readme = await readProjectFile("README.md");
  const [, configuration = ""] = /### Without a checkout\n.*?^```json\n(.*?)^```$/ms.exec(readme) ??
    [];
  const program = `
    import { Client, Server } from "@degu/degu";
    import { Device } from "@degu/degu/device";
    import { findDiscoveryProblem } from "@degu/degu/device/discovery";
    import { FilesApp } from "@degu/degu/files";
    await using server = await Server.start(["127.0.0.1", 0], new FilesApp("served"));
    const response = await new Client(server.address).request("GET", "/page.html");
    console.log(await response.text(), response.headers["content-type"]);
    console.log(typeof Device.open, typeof findDiscoveryProblem);
    const { default: multicastDns } = await import(import.meta.resolve(
      "./degu-0.1.0/degu/vendor/multicast-dns.js",
    ));
    console.log(typeof multicastDns);
  `;
  await fill(project, { "served/page.html": "hello", "hello.ts": program });
  for (
    const [flags, ownConfiguration] of [
      [["--config=degu-0.1.0/deno.json"], null],
      [[], configuration],
    ] as const
  ) {
    if (ownConfiguration !== null) await fill(project, { "deno.json": ownConfiguration });
    const permissions = ["--allow-net=127.0.0.1", "--allow-read=."];
    const output = await runOrThrow(
      [Deno.execPath(), "run", "--no-prompt", "--check", ...flags, ...permissions, "hello.ts"],
      { cwd: project, env: { ...OFFLINE, DENO_DIR: homes.joinPath("cache"), NO_COLOR: "1" } },
    );
    assertEquals(output, "hello text/html\nfunction function\nfunction\n");
  }
});

Deno.test("the program of the archive is installed for two users, pairs them, and sends a file", async () => {
  await using homes = await AgentHomes.create();
  const { project } = await unpack(homes);
  const script = await Deno.readTextFile(join(project, "degu-0.1.0/agent/degu"));
  const flags = Array.from(script.matchAll(/--allow-[^\s']+/g), ([flag]) => flag);
  // Only `service` has the last one.
  assertEquals(flags, [...await readInstallFlags(), "--allow-run=systemctl"]);
  const envOf = (name: string) => ({ ...OFFLINE, HOME: homes.joinPath(name), NO_COLOR: "1" });
  const users = ["user a", "user b"] as const;
  for (const name of users) {
    // Another build of this version was installed before.
    const oldModule = `${name}/.deno/lib/degu-0.1.0/chunk-OLD.js`;
    await fill(homes.path, { [oldModule]: "" });
    const options = { cwd: project, env: envOf(name) };
    const install = [...BASH, "sh", "degu-0.1.0/install.sh"];
    assertMatch(await runOrThrow([...install, "--help"], options), /^usage: sh install\.sh\n/);
    await assertRejects(() => runOrThrow([...install, "--root"], options));
    await assertRejects(() => Deno.lstat(homes.joinPath(name, ".deno/bin")), Deno.errors.NotFound);
    await runOrThrow(install, options);
    await assertRejects(() => Deno.stat(homes.joinPath(oldModule)), Deno.errors.NotFound);
  }
  // The installed program doesn't need the archive.
  await Deno.remove(project, { recursive: true });
  const start = (name: string, ...args: string[]) => {
    const command = [...BASH, homes.joinPath(name, ".deno/bin/degu"), ...args];
    return watch(startCommand(command, { env: envOf(name) }), "", args.join(" "));
  };
  const run = async (name: string, ...args: string[]) => {
    await using agent = start(name, ...args);
    const { code, stdout, stderr } = await agent.waitForEnd();
    assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const [one, two] = users;
  await run(one, "init", "--name", "one");
  await run(two, "init", "--name", "two");
  await using inviter = start(one, "invite", "--listen", "127.0.0.1:0");
  const line = await inviter.waitForLine();
  await run(two, "join", line);
  assertEquals((await inviter.waitForEnd()).code, 0);
  const inbox = homes.joinPath("inbox");
  await fill(homes.path, { inbox: null, "hello.txt": "hello" });
  await using server = start(
    one,
    "serve",
    "--inbox",
    inbox,
    "--listen",
    "127.0.0.1:0",
    "--no-announce",
  );
  const [address = ""] = /127\.0\.0\.1:\d+/.exec(await server.waitForLine("127.0.0.1")) ?? [];
  await run(two, "put", homes.joinPath("hello.txt"), "one:", "--address", address);
  assertEquals(await Deno.readTextFile(join(inbox, "two", "hello.txt")), "hello");
});

/** Code that tries to leave the directories of a command, which gets data from the network. */
const makeEscape = (secret: string) => `
if (!Deno.args.includes("--flags")) {
  const attempts = [
    () => Deno.readTextFileSync(${JSON.stringify(secret)}),
    () => Deno.writeTextFileSync(${JSON.stringify(secret)}, "replaced"),
    () => new Deno.Command("id").outputSync(),
  ].map((attempt) => {
    try {
      attempt();
      return "done";
    } catch (error) {
      return error.name;
    }
  });
  console.error("attempts: " + attempts);
}
`;

const AS_ORDINARY_USER = Deno.uid() === 0
  ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
  : [];
const USER = [...BASH, ...AS_ORDINARY_USER];

/** Installs the program twice, for a user whose home has an odd name, and whose `bin` is a link. */
async function install(homes: AgentHomes) {
  const { project } = await unpack(homes);
  const HOME = homes.joinPath('it\'s a "home" of $x \u200d');
  // A deno.json of the user is not of the program.
  await fill(HOME, { "tmp": null, "deno.json": "not of degu", ".deno": null, "programs": null });
  await makeLinks({ [`${HOME}/.deno/bin`]: "../programs" });
  if (AS_ORDINARY_USER.length > 0) {
    await runOrThrow([...BASH, "chown", "-R", "65534", homes.path]);
  }
  const env = { ...OFFLINE, HOME, TMPDIR: `${HOME}/tmp`, TERM: "dumb", NO_COLOR: "1" };
  const options = { cwd: homes.path, env };
  const installScript = join(project, "degu-0.1.0/install.sh");
  for (let times = 0; times < 2; times++) {
    await runOrThrow([...USER, "dash", installScript], options);
  }
  const main = join(HOME, ".deno/lib/degu-0.1.0/main.ts");
  const start = (args: readonly string[], input: string) => {
    const command = [...USER, "dash", join(HOME, ".deno/bin/degu"), ...args];
    return watch(startCommand(command, options), input, args.join(" "));
  };
  return { main, start };
}

const noDash = ignoreIf(await findObstacle([...USER, "dash", "-c", ":"]));

Deno.test(
  "serve, receive and sync of the installed program can't leave their directories",
  noDash,
  async (t) => {
    await using homes = await AgentHomes.create("laptop", "desk");
    await homes.pair("laptop", "desk", undefined, "127.0.0.1:1");
    const [share, secret] = [homes.joinPath(`it's $(a) "share" * \\n`), homes.joinPath("secret")];
    await fill(share, { "file": "1" });
    await fill(homes.path, { "a,b/file": "1", "two\nlines/file": "1", "secret": "1" });
    const { main, start } = await install(homes);
    await Deno.writeTextFile(main, makeEscape(secret) + await Deno.readTextFile(main));
    const [home, listen] = [homes.joinPath("laptop"), ["--listen", "127.0.0.1:0"]];
    const serve = ["serve", "--share", share, ...listen];
    const sync = ["sync", "--no-find", "desk:"];
    const [all, none] = ["done,done,NotCapable", "NotCapable,NotCapable,NotCapable"];
    const usage = "usage: degu serve ";
    const noDirectory = "there is no directory";
    const rows: [rule: string, args: string[], attempts: string | null, message: string][] = [
      ["another command", ["--home", home, "id"], all, ""],
      ["serve", serve, none, ""],
      ["options before it", [`--home=${home}`, "--json", ...serve], none, ""],
      ["the name of a command as --home", ["--home", "permissions", ...serve], none, ""],
      ["its own name as --home", ["-q", "--home", "serve", ...serve], none, ""],
      ["-- before it", ["--home", home, "--", "receive", "-", share], none, "the line is garbled"],
      ["a Unix socket", [...serve, "--listen", `unix:${homes.joinPath("socket")}`], none, ""],
      ["receive, with the line of stdin", ["receive", "-", share], none, "the line is garbled"],
      ["a single sync", ["--home", home, ...sync, share], none, "does not answer"],
      ["sync --every", ["--home", home, ...sync, "--every=60", share], none, "does not answer"],
      ["a new directory", ["--home", home, ...sync, `${share}/new`], none, "does not answer"],
      ["a help", ["serve", "--help"], none, ""],
      ["a wrong option", ["serve", "--shares", share], null, usage],
      ["a missing directory", ["serve", "--share", "missing", ...listen], null, noDirectory],
      ["a garbled line", ["--json", "receive", "degu-send:nonsense", share], null, "is garbled"],
      ["an unknown peer", ["--home", home, "sync", "sofa:", share], null, "there is no peer"],
      ["a path with a comma", ["serve", "--share", "a,b", ...listen], all, '/a,b"'],
      [
        "a path with a line feed",
        ["serve", "--share", "two\nlines", ...listen],
        all,
        '/two\\nlines"',
      ],
      ["the line for another sandbox", ["permissions", ...serve], all, ""],
    ];
    await testEachRow(t, rows, async (_rule, args, attempts, message) => {
      await using agent = start(args, "degu-send:nonsense");
      if (args.includes("127.0.0.1:0") && attempts) {
        await agent.waitForLine("127.0.0.1");
        agent.kill("SIGINT");
      } else if (args.includes("--every=60")) {
        await agent.waitForMessage("does not answer");
        agent.kill("SIGINT");
      }
      const { code, stderr } = await agent.waitForEnd();
      if (attempts !== null) assertStringIncludes(stderr, `attempts: ${attempts}\n`);
      else assert(code !== 0 && !stderr.includes("attempts"), stderr);
      assertStringIncludes(stderr, message);
      const isOpen = stderr.includes(
        "warning: serve runs with the permissions of all commands: no flag",
      );
      assertEquals(isOpen, attempts === all && args[0] === "serve");
      assertEquals(await Deno.readTextFile(secret), attempts === all ? "replaced" : "1");
      await Deno.writeTextFile(secret, "1");
    });
  },
);

const noSystemctl = await findObstacle([...BASH, "systemctl", "--version"]);

Deno.test(
  "service of the installed program may run systemctl, and no other program; other commands run none",
  noDash.ignore ? noDash : ignoreIf(noSystemctl),
  async () => {
    await using homes = await AgentHomes.create();
    const { main, start } = await install(homes);
    const print = `
const states = ["systemctl", "sh"].map((command) => Deno.permissions.querySync({ name: "run", command }).state);
console.log(states.join(" "));
Deno.exit();
`;
    await Deno.writeTextFile(main, print + await Deno.readTextFile(main));
    const rows: [args: string[], states: string][] = [
      [["service", "list"], "granted prompt"],
      [["--home", "id", "service", "remove", "degu"], "granted prompt"],
      [["--home", "service", "id"], "prompt prompt"],
      [["id"], "prompt prompt"],
    ];
    for (const [args, states] of rows) {
      await using agent = start(args, "");
      const { stdout, stderr } = await agent.waitForEnd();
      assertEquals([stdout, stderr], [`${states}\n`, ""], `${args}`);
    }
  },
);

/** Code that prints which paths and hosts a command may use, in place of the program. */
const PRINT_PERMISSIONS = `
if (!Deno.args.includes("--flags")) {
  const isGranted = (permission) => Deno.permissions.querySync(permission).state === "granted";
  const [dir, ...hosts] = JSON.parse(await new Response(Deno.stdin.readable).text());
  console.log(JSON.stringify([
    ...[dir, dir + "/..", "/etc"].map((path) => isGranted({ name: "write", path })),
    ...hosts.map((host) => isGranted({ name: "net", host })),
  ]));
  Deno.exit();
}
`;

Deno.test(
  "the sandbox is on for each name of a directory and each address of a line, or the command names the path",
  noDash,
  async () => {
    await using homes = await AgentHomes.create();
    const dirs = SHELL_NAMES.map((name) => homes.joinPath("dirs", name));
    for (const dir of dirs) await Deno.mkdir(dir, { recursive: true });
    const { main, start } = await install(homes);
    await Deno.writeTextFile(main, PRINT_PERMISSIONS + await Deno.readTextFile(main));
    const run = async (args: string[], input: string[]) => {
      await using agent = start(args, JSON.stringify(input));
      const { code, stdout, stderr } = await agent.waitForEnd();
      assertEquals(code, 0, stderr);
      return { granted: JSON.parse(stdout), stderr };
    };
    for (const dir of dirs) {
      const { granted, stderr } = await run(["receive", "--address", "192.0.2.1", dir], [
        dir,
        "192.0.2.2",
      ]);
      const isOpen = isInexpressible(dir);
      assertEquals(granted, [true, isOpen, isOpen, isOpen], dir);
      if (isOpen) {
        assertStringIncludes(stderr, `: no flag of Deno can name ${JSON.stringify(dir)}\n`);
      } else assertEquals(stderr, "");
    }
    const hosts = ["127.0.0.1", "192.0.2.1", "169.254.1.2", "::1", "fd00::2", "2001:db8::1"]
      .concat("::ffff:c000:201", "fe80::1", "fe80::fc:ff:fe00:1", "febf::2", "0.0.0.0", "ff02::1");
    for (const lineHosts of [...hosts.map((host) => [host]), hosts.slice(0, 6), hosts.slice(6)]) {
      const line = encodeLine({
        keyHash: new Uint8Array(32),
        secret: new Uint8Array(16),
        expires: new Date(Date.now() + 600_000),
        addresses: lineHosts.map((host) => [host, 40_000, 40_001]),
      });
      const texts = lineHosts.map((host) => host.includes(":") ? `[${host}]` : host);
      const input = [dirs[0]!, ...texts, "203.0.113.1"];
      const { granted, stderr } = await run([
        "receive",
        line.replace("degu:", "degu-send:"),
        dirs[0]!,
      ], input);
      assertEquals(granted, [true, false, false, ...texts.map(() => true), false], `${lineHosts}`);
      assertEquals(stderr, "");
    }
  },
);

Deno.test("the program of the archive has source maps, and copies files", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const { project } = await unpack(homes);
  const directory = join(project, "degu-0.1.0/agent");
  const [share, inbox, got] = [
    homes.joinPath("share"),
    homes.joinPath("inbox"),
    homes.joinPath("got"),
  ];
  for await (const { name, isFile } of Deno.readDir(directory)) {
    if (!isFile) continue;
    const text = await Deno.readTextFile(join(directory, name));
    assert(!text.includes("//# sourceMappingURL="), name);
    if (name.endsWith(".js")) assert((await Deno.lstat(join(directory, `${name}.map`))).isFile);
    assert(!text.includes(PROJECT), name);
    assert(!/\.\.\/npm\//.test(text), name);
    // It loads all modules of Node, also for `--version`.
    assert(!text.includes('from "node:module"'), name);
  }

  const flags = await readInstallFlags();
  const start = (name: string, ...args: string[]) => {
    const home = ["--home", homes.joinPath(name)];
    const command = makeDenoCommand(flags, join(directory, "main.ts"), ...home, ...args);
    const child = startCommand(command, { cwd: directory, env: { NO_COLOR: "1" } });
    return watch(child, "", args.join(" "));
  };
  await fill(homes.path, { "share/a": "1", "share/sub/b": "22", "inbox": null });
  await homes.pair("camera", "viewer");
  const listen = ["--listen", "127.0.0.1:0", "--no-announce"];
  await using camera = start(
    "camera",
    ...["serve", "--share", share, "--inbox", inbox, ...listen],
  );
  const address = /127\.0\.0\.1:\d+/.exec(await camera.waitForLine("127.0.0.1"))![0];
  for (
    const args of [
      ["get", "-r", "camera:", got],
      ["put", "-r", share, "camera:copy"],
      ["sync", "--delete", share, "camera:copy"],
    ]
  ) {
    await using viewer = start("viewer", ...args, "--address", address);
    const { code, stderr } = await viewer.waitForEnd();
    assertEquals(code, 0, stderr);
  }
  assertEquals(await Deno.readTextFile(`${got}/sub/b`), "22");
  assertEquals(await Deno.readTextFile(`${inbox}/viewer/copy/sub/b`), "22");
  camera.kill("SIGINT");
  assertEquals((await camera.waitForEnd()).code, 0);
});
