/** degu permissions: paths through links, new files, searches, and wrong commands. */
import { AgentHomes, runAgent } from "@degu/testing/agents.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { fill } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { makeLinks } from "@degu/testing/special_files.ts";

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

Deno.test("--flags prints the flags of the line, each in a line, and no path with a line feed", async () => {
  await using homes = await AgentHomes.create("laptop");
  await fill(homes.path, { "it's $x *": null, "two\nlines": null });
  const serve = ["serve", "--listen", "127.0.0.1:1", "--share"];
  const share = homes.joinPath("it's $x *");
  const args = [...serve, share];
  const flags = await homes.runToSuccess("laptop", ["permissions", "--flags", ...args]);
  const line = await homes.runToSuccess("laptop", ["permissions", ...args]);
  const words = await runOrThrow(["bash", "-c", `printf '%s\\n' ${line}`]);
  assert(words.includes(`run\n${flags}`), `${words}\n${flags}`);
  assert(flags.startsWith("--no-prompt\n") && flags.includes(`,${share}\n`), flags);
  const message = "has a line feed";
  const split = ["permissions", "--flags", ...serve, homes.joinPath("two\nlines")];
  await homes.runToFailure("laptop", 1, message, split);
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
    [[], 2, "a command is missing; usage: degu permissions pair|invite|"],
    [["upload"], 2, "unknown command 'upload'"],
    [["sync", "a", "b"], 2, "b"],
    [["ls", "desk:"], 3, "this device has no usable peers"],
  ];
  for (const [args, code, message] of rows) {
    await homes.runToFailure("laptop", code, message, ["permissions", ...args]);
  }
});
