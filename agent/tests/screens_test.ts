/** The errors of wrong command lines: the problem, and the advice. */
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { AgentHomes } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals } from "@std/assert";

Deno.test("errors of the command line have advice", async (t) => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(local, { "file": "1", "dir/a": "1" });
  await fill(share, { "file": "1" });
  const help = (command: string) => `; see "degu ${command} --help"`;
  const scp = (path: string) =>
    ` is written as for scp: degu has no users, so write the name of a peer, which "degu peers" lists, and a path ` +
    `in its share, as in ${path}`;
  const isFile = "is a file: leave out the slash at the end";
  const port = "the port must be an integer from 0 to 65535; got 70000";
  const nothing =
    "there is no directory to serve: add --share DIR, which peers can read, or --inbox, into which they can put files";
  const rows: [rule: string, code: number, said: string, args: string[]][] = [
    [
      "a directory that is missing here",
      1,
      `there is no directory "${local}/no" on this device: check the name, and whether its disk is mounted`,
      ["sync", `${local}/no`, "camera:to"],
    ],
    [
      "a pattern in place of a directory",
      1,
      `there is no directory "${local}/*" on this device: degu does not expand wildcards: name each file, or a directory with -r`,
      ["sync", `${local}/*`, "camera:to"],
    ],
    [
      "a directory that is missing above a target",
      1,
      `there is no directory "${local}/no" on this device: create it first, with "mkdir -p"`,
      ["get", "camera:file", `${local}/no/new`],
    ],
    ["a port that is none", 2, `--listen: ${port}${help("serve")}`, ["serve", "--listen", "70000"]],
    ["behind a colon", 2, `--listen: ${port}${help("serve")}`, ["serve", "--listen", ":70000"]],
    [
      "behind an address",
      2,
      `--address: ${port}${help("ping")}`,
      ["ping", "camera", "--address", "10.0.0.1:70000"],
    ],
    ["a path of scp", 2, `"root@camera:/file"${scp("camera:file")}`, [
      "get",
      "root@camera:/file",
      local,
    ]],
    ["to put to", 2, `"me@camera:"${scp("camera:")}`, ["put", `${local}/file`, "me@camera:"]],
    ["a slash behind a file, of ls", 1, `"camera:file" ${isFile}`, ["ls", "camera:file/"]],
    ["of get", 1, `"camera:file" ${isFile}`, ["get", "camera:file/", local]],
    ["of rm", 1, `"camera:theirs" ${isFile}`, ["rm", "camera:theirs/"]],
    ["a path through a file", 1, `"camera:file" is a file: it has no entries`, [
      "ls",
      "camera:file/x",
    ]],
    ["a file to sync", 1, `"${local}/file" is not a directory: put a file with "degu put"`, [
      "sync",
      `${local}/file`,
      "camera:to",
    ]],
    [
      "a file as the share",
      1,
      `--share: "${local}/file" is not a directory: name the directory that it is in`,
      [
        "serve",
        "--share",
        `${local}/file`,
      ],
    ],
    ["nothing to serve", 2, nothing, ["serve"]],
    ["as a service", 2, nothing, ["service", "install", "--listen", "127.0.0.1"]],
    ["an operand that is missing", 2, `PEER:PATH is missing${help("ls")}`, ["ls"]],
    [
      "a second one",
      2,
      `too many arguments: "b", "c d"; quote a name with spaces${help("ls")}`,
      ["ls", "a", "b", "c d"],
    ],
    [
      "a value that is missing",
      2,
      `--max-delete needs a value: --max-delete NUMBER${help("sync")}`,
      ["sync", "a", "b:", "--max-delete"],
    ],
    [
      "a value that is none of a few",
      2,
      `SHELL must be one of bash, zsh, fish${help("completions")}`,
      ["completions", "tcsh"],
    ],
    [
      "options that exclude each other",
      2,
      `--inbox-for-all and --inbox can't be combined${help("serve")}`,
      ["serve", "--inbox", "a", "--inbox-for-all", "b"],
    ],
    [
      "words in place of seconds",
      2,
      `--seconds: must be a number of seconds, 0 or more; got "soon"${help("invite")}`,
      ["invite", "--seconds", "soon"],
    ],
  ];
  await fill(files.inbox, { "theirs": "1" });
  await testEachRow(t, rows, async (_rule, code, said, args) => {
    const stderr = await files.runToFailure(code, said, ...args);
    assertEquals(stderr, `degu: error: ${said}\n`);
  });
});

Deno.test("a file instead of the device's directory is an error", async () => {
  await using homes = await AgentHomes.create();
  await fill(homes.path, { "file": "1" });
  await homes.runToFailure("file", 1, /^degu: error: --home: .*\/file is a file, or/, ["peers"]);
});
