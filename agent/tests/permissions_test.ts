/** degu permissions: paths through links, new files, searches, and wrong commands. */
import { AgentHomes, runAgent } from "@degu/testing/agents.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { fill } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { isInexpressible, SHELL_NAMES } from "./shell_names.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { encodeLine } from "@degu/internal/device/pairing/invitation_line.ts";

Deno.test("the flags have the paths and addresses of the arguments", async (t) => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { "real/file": "1", "copy/.degu-kept/a": "1", "copy/sub/b": "1" });
  await makeLinks({ [homes.joinPath("link")]: "real" });
  const [path, home] = [homes.path, homes.joinPath("laptop")];
  const [all, search] = ["--allow-net", "--allow-sys=uid,networkInterfaces"];
  const rows: [rule: string, args: string[], flags: string[]][] = [
    ["a peer that may be searched for", ["ls", "desk:"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`, all, search],
    ]],
    ["a new file, in its directory", ["get", "--no-find", "desk:a", `${path}/real/new/file`], [
      ...[`--allow-read=${home},${path}/real`, `--allow-write=${home},${path}/real`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid,statfs"],
    ]],
    ["both paths of a link", ["put", "--no-find", `${path}/link/file`, "desk:"], [
      ...[`--allow-read=${home},${path}/link/file,${path}/real/file`, `--allow-write=${home}`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid"],
    ]],
    ["a deletion, which spares the home directory", [
      ...["sync", "--delete", "--address", "192.0.2.1", "desk:", `${path}/copy`],
    ], [
      ...[`--allow-read=${home},${path}/copy`, `--allow-write=${home},${path}/copy`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid,statfs", "--allow-env=HOME"],
    ]],
    ["a new directory, in its parent", ["sync", "--no-find", "desk:", `${path}/real/new`], [
      ...[`--allow-read=${home},${path}/real`, `--allow-write=${home},${path}/real`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid,statfs"],
    ]],
    ...["--no-create", "--every=60"].map((option): [string, string[], string[]] => [
      `a directory that ${option} doesn't create`,
      ["sync", "--no-find", option, "desk:", `${path}/link/new`],
      [
        `--allow-read=${home},${path}/link/new,${path}/real/new`,
        `--allow-write=${home},${path}/link/new,${path}/real/new`,
        ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid,statfs"],
      ],
    ]),
    ["a source that is missing", ["sync", "--no-find", `${path}/real/new`, "desk:"], [
      ...[`--allow-read=${home},${path}/real/new`, `--allow-write=${home}`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid"],
    ]],
    ["an address", ["ping", "--address", "[fe80::1%3]:7443", "desk"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`],
      ...["--allow-net=[fe80::1%3]:7443", "--allow-sys=uid"],
    ]],
    [
      "a directory of an inbox with versions",
      ["restore", `${path}/copy/gone`, `${path}/real/new`],
      [
        ...[`--allow-read=${home},${path}/copy,${path}/real`, `--allow-write=${path}/real`],
      ],
    ],
    ["the states of a directory", ["restore", `${path}/copy`], [
      `--allow-read=${home},${path}/copy`,
    ]],
    ["a restoration that writes nothing", ["restore", "-n", `${path}/copy`, `${path}/real/new`], [
      `--allow-read=${home},${path}/copy,${path}/real`,
    ]],
    ["a line of stdin, which may have any address", ["join", "--serving", "192.0.2.1:1", "-"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`, all, search],
    ]],
    ["the ports after a port", ["invite", "--listen", "192.0.2.3:7500", "--serving", "a.test:1"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`],
      ...["--allow-net=192.0.2.3:7500,192.0.2.3:7501", "--allow-sys=uid"],
    ]],
    [
      "the host of an invitation",
      ["pair", "--address", "192.0.2.3:7500", "--serving", "a.test:1"],
      [
        ...[`--allow-read=${home}`, `--allow-write=${home}`],
        ...["--allow-net=192.0.2.3", "--allow-sys=uid"],
      ],
    ],
  ];
  await testEachRow(t, rows, async (_rule, args, flags) => {
    const printed = await homes.runToSuccess("laptop", ["--json", "permissions", ...args]);
    const { command }: { command: string[] } = JSON.parse(printed);
    assertEquals(command.filter((word) => word.startsWith("--allow-")), flags);
    assertEquals(command.slice(-args.length - 3), ["--home", home, "--json", ...args]);
  });
});

Deno.test("with its printed flags, sync reports a directory that is missing", async () => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  const args = ["sync", "--no-find", "--no-create", "--delete", "desk:", homes.joinPath("new")];
  const flags = await homes.runToSuccess("laptop", ["permissions", "--flags", ...args]);
  const home = ["--home", homes.joinPath("laptop")];
  const { code, stderr } = await runAgent([...home, ...args], {
    flags: flags.trimEnd().split("\n"),
  });
  assertEquals(code, 1, stderr);
  assertStringIncludes(stderr, "is its disk mounted?");
});

Deno.test("with their printed flags, commands tell an inbox from the directory of a peer in it", async () => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  await fill(homes.path, { "Inbox/.degu-files/owner-desk": "", "Inbox/desk/.degu-files": null });
  const home = ["--home", homes.joinPath("laptop")];
  for (const command of [["sync"], ["get", "-r"]]) {
    for (
      const [target, problem] of [
        ["Inbox", 'Inbox" is an inbox of this device'],
        ["Inbox/new", 'Inbox" is an inbox of this device'],
        ["Inbox/desk", "no program listens"],
        ["Inbox/desk/new", "no program listens"],
      ] as const
    ) {
      const path = homes.joinPath(target);
      const args = [...command, "--address", "127.0.0.1:1", "desk:", path];
      const flags = await homes.runToSuccess("laptop", ["permissions", "--flags", ...args]);
      const { stderr } = await runAgent([...home, ...args], { flags: flags.trimEnd().split("\n") });
      assertStringIncludes(stderr, problem);
    }
  }
});

Deno.test("a name with a hyphen is printed behind the -- before it", async () => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  for (const args of [["put", "--", "-x", "desk:"], ["put", "--force", "--", "-x", "desk:"]]) {
    const line = await homes.runToSuccess("laptop", ["permissions", ...args]);
    assertEquals(line.trimEnd().split(" ").slice(-args.length), args);
  }
});

Deno.test("the printed line has each name as it is, unless a terminal shows it", async () => {
  await using homes = await AgentHomes.create("laptop");
  for (const name of ["👩\u200d🔬", "soft\u00adhyphen", "two\nlines", "it's", "\u202e\x1b[2J"]) {
    await fill(homes.path, { [`${name}/file`]: "1" });
    const args = ["permissions", "serve", "--share", homes.joinPath(name)];
    const line = await homes.runToSuccess("laptop", args);
    const words = await runOrThrow(["bash", "-c", `printf '%s\\0' ${line}`]);
    assertEquals(words.split("\0").at(-2), homes.joinPath(name));
    const { stdout } = await homes.run("laptop", args, { terminal: { columns: 80, rows: 24 } });
    assert(!/[\p{Cc}\p{Cf}]/u.test(stdout.replaceAll("\r\n", "")), stdout);
  }
});

const notWindows = { ignore: Deno.build.os === "windows" };

Deno.test(
  "--flags prints the flags of the line, each in a line, or names the path that no flag can have",
  notWindows,
  async (t) => {
    await using homes = await AgentHomes.create("laptop");
    const print = async (...args: string[]) => {
      const { code, stdout, stderr } = await homes.run("laptop", ["permissions", ...args]);
      assertEquals(code, 0, stderr);
      return { stdout, stderr };
    };
    const rows = SHELL_NAMES.map((
      name,
    ): [rule: string, name: string] => [JSON.stringify(name), name]);
    await testEachRow(t, rows, async (_rule, name) => {
      const share = homes.joinPath("share", name);
      await fill(share, { file: "1" });
      const args = ["serve", "--listen", "127.0.0.1:1", "--share", share];
      const { stdout, stderr } = await print("--flags", ...args);
      if (isInexpressible(name)) {
        assertEquals(stdout, "");
        const warning = "degu: warning: serve runs with the permissions of all commands: no flag";
        assertStringIncludes(stderr, `${warning} of Deno can name ${JSON.stringify(share)}`);
        return;
      }
      const words = await runOrThrow([
        "bash",
        "-c",
        `printf '%s\n' ${(await print(...args)).stdout}`,
      ]);
      assert(words.includes(`run\n${stdout}`), `${words}\n${stdout}`);
      assert(stdout.startsWith("--no-prompt\n") && stdout.includes(`,${share}\n`), stdout);
      assertEquals(stderr, "");
    });
  },
);

Deno.test("--flags fails as the command does, with the same words, and prints a warning only then", async () => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  const [peer] = await Array.fromAsync(Deno.readDir(homes.joinPath("laptop/peers")));
  await fill(homes.path, { [`laptop/peers/${peer!.name}`]: "damaged", "share": null });
  const rows: string[][] = [
    ["serve", "--shares", "a"],
    ["serve"],
    ["serve", "--share", homes.joinPath("missing")],
    ["receive", "degu-send:nonsense", homes.path],
    ["sync", "desk:", homes.joinPath("share")],
  ];
  const warning = /^degu: warning: the file .* is not used.*\n/;
  for (const args of rows) {
    for (const options of [[], ["--json"]]) {
      const expected = await homes.run("laptop", [...options, ...args]);
      const result = await homes.run("laptop", ["permissions", "--flags", ...options, ...args]);
      // `serve` opens its device before it finds that its directory is missing.
      const stderr = args[0] === "serve" ? expected.stderr.replace(warning, "") : expected.stderr;
      assertEquals(result, { ...expected, stderr });
      assertEquals(warning.test(result.stderr), args[0] === "sync");
    }
  }
  const args = ["serve", "--listen", "127.0.0.1:1", "--share", homes.joinPath("share")];
  const { code, stderr } = await homes.run("laptop", ["permissions", "--flags", ...args]);
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("the flags of a line have each of its addresses, in a form that Deno reads", async () => {
  await using homes = await AgentHomes.create("laptop");
  const [discovery, none] = [["networkInterfaces"], []] as const;
  const rows: [host: string, flag: string, sys: readonly string[]][] = [
    ...["127.0.0.1", "192.0.2.1", "169.254.1.2", "0.0.0.0", "255.255.255.255", "224.0.0.251"]
      .map((host): [string, string, readonly string[]] => [host, host, none]),
    ...[
      "::1",
      "::",
      "fd00::2",
      "2001:db8::1:0:0:1",
      "::ffff:c000:201",
      "64:ff9b::c000:201",
      "ff02::1",
    ]
      .map((host): [string, string, readonly string[]] => [host, `[${host}]`, none]),
    ...["fec0::1", "fe7f::1", "fe8::1", "feb::1"]
      .map((host): [string, string, readonly string[]] => [host, `[${host}]`, none]),
    ...["fe80::1", "fe80::fc:ff:fe00:1", "fe9f::", "febf:ffff::1"]
      .map((host): [string, string, readonly string[]] => [host, `[${host}]`, discovery]),
  ];
  const print = async (...hosts: string[]) => {
    const line = encodeLine({
      keyHash: new Uint8Array(32),
      secret: new Uint8Array(16),
      expires: new Date(Date.now() + 600_000),
      addresses: hosts.map((host) => [host, 40_000, 40_001]),
    });
    const prints = ["receive", "join"].map(async (name) => {
      const options = name === "join" ? ["--serving", "192.0.2.1:1"] : [];
      const ofCommand = name === "join" ? line : line.replace("degu:", "degu-send:");
      const args = ["permissions", "--flags", name, ...options, ofCommand];
      return (await homes.runToSuccess("laptop", args)).trimEnd().split("\n");
    });
    return (await Promise.all(prints)).map((flags) => {
      const find = (kind: string) => flags.find((flag) => flag.startsWith(`--allow-${kind}=`))!;
      return { net: find("net"), sys: find("sys") };
    });
  };
  const netFlags: string[] = [];
  for (const [host, flag, sys] of rows) {
    for (const flags of await print(host)) {
      assertEquals(flags.net, `--allow-net=${flag}`);
      assertEquals(flags.sys.includes("networkInterfaces"), sys.length > 0, host);
      netFlags.push(flag);
    }
  }
  assertEquals(
    (await print("fe80::1", "192.0.2.1", "::1"))[0]!.net,
    "--allow-net=[fe80::1],192.0.2.1,[::1]",
  );
  // A scope, which a connection to a link-local address has, needs no other permission.
  const hosts = [...netFlags, "[fe80::1%1]", "203.0.113.1"];
  const program = `console.log(${
    JSON.stringify(hosts)
  }.filter((host) => Deno.permissions.querySync({ name: "net", host }).state !== "granted").join())`;
  const url = `data:text/javascript,${encodeURIComponent(program)}`;
  const command = [Deno.execPath(), "run", "--no-prompt", `--allow-net=${netFlags}`, url];
  assertEquals(await runOrThrow(command), "203.0.113.1\n");
});

Deno.test("a Unix socket needs its path, and an abstract name every address", async () => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  const [home, socket] = [homes.joinPath("laptop"), homes.joinPath("a socket")];
  const rows: [args: string[], flags: string[]][] = [
    [["ping", "--address", `unix:${socket}`, "desk"], [
      ...[`--allow-read=${home},${socket}`, `--allow-write=${home},${socket}`],
      ...[`--allow-net=unix:${socket}`, "--allow-sys=uid"],
    ]],
    [["serve", "--listen", `unix:${socket}`, "--share", homes.joinPath("desk")], [
      `--allow-read=${home},${socket},${homes.joinPath("desk")}`,
      `--allow-write=${home},${socket}`,
      ...[`--allow-net=unix:${socket}`, "--allow-sys=uid"],
    ]],
    [["ping", "--address", "unix:@name", "desk"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`, "--allow-net", "--allow-sys=uid"],
    ]],
  ];
  for (const [args, flags] of rows) {
    const printed = await homes.runToSuccess("laptop", ["permissions", "--flags", ...args]);
    assertEquals(printed.trimEnd().split("\n").filter((flag) => flag.startsWith("--allow")), flags);
  }
});

Deno.test("--json behind permissions is an option of the command whose line is printed", async () => {
  await using homes = await AgentHomes.create("laptop");
  for (const args of [["--json", "id"], ["id", "--json"]]) {
    const line = await homes.runToSuccess("laptop", ["permissions", ...args]);
    assert(line.endsWith(` --home ${homes.joinPath("laptop")} --json id\n`), line);
  }
});

Deno.test("a wrong command is refused as without permissions", async () => {
  await using homes = await AgentHomes.create("laptop");
  const rows: [args: string[], code: number, message: string][] = [
    [[], 2, "a command is missing; usage: degu permissions COMMAND ["],
    [["upload"], 2, "unknown command 'upload'"],
    [["sync", "a", "b"], 2, "b"],
    [["ls", "desk:"], 3, "this device has no peers"],
  ];
  for (const [args, code, message] of rows) {
    await homes.runToFailure("laptop", code, message, ["permissions", ...args]);
  }
});
