/** The messages for errors of the library, and of wrong command lines: the problem, and the advice. */
import { ConnectionError, TlsError } from "@degu/degu";
import { Device, PairingError, type PairingErrorCode } from "@degu/degu/device";
import { TransferError } from "@degu/degu/files";
import {
  explain,
  explainTransfer,
  makeRewordingLogger,
  rewordLogLine,
} from "@degu/internal/agent/words/explain.ts";
import { answerLostError } from "@degu/internal/device/pairing/join.ts";
import { AgentFiles, parseObjects } from "./agent_files.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";
import { formatAddress } from "@degu/degu/base";
import { LOOPBACK } from "../../device/tests/device_serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { skipPauses } from "@degu/testing/clock.ts";

const GIGABYTE = 1_000_000_000;
const RUN_AGAIN = "run the same command again";

Deno.test("the needed and the free space are printed in units, for both devices", async (t) => {
  const full = (details: object) => new TransferError("DISK_FULL", "for programs", details);
  const remote = (details: object) => full({ at: "remote", ...details });
  const local = (details: object) => full({ at: "local", ...details });
  const kept = { path: "/t/.x.degu-part", bytes: 12345678 };
  const rows: [rule: string, error: Error, expectedMessage: string][] = [
    [
      "there",
      remote({ needed: 3.2 * GIGABYTE, free: 1.1 * GIGABYTE }),
      `needs 3.20 GB, and 1.10 GB are free on the target's disk at desk`,
    ],
    [
      "there, when it fills up",
      remote({ free: 0 }),
      `no space is left on the target's disk at desk, or a quota is reached`,
    ],
    [
      "there, when no more files fit",
      remote({ needed: 0 }),
      "no more files fit on the target's disk at desk",
    ],
    [
      "here",
      local({ needed: 2500, free: 950 }),
      `needs 2.50 kB, and 950 B are free on the target's disk`,
    ],
    [
      "here, when it fills up",
      local({ kept }),
      `no space is left on the target's disk, or a quota is reached; ` +
      "/t/.x.degu-part keeps the 12.3 MB that have arrived",
    ],
  ];
  await testEachRow(t, rows, (_rule, error, expectedMessage) => {
    assertEquals(explainTransfer(error, "put", "desk"), expectedMessage);
  });
});

/** Makes the error of a pairing with the device "desk", with advice that degu doesn't print. */
function makePairingError(
  code: PairingErrorCode,
  reason: NonNullable<PairingError["reason"]>,
  problem: string,
): PairingError {
  const options = { reason, problem, peerName: "desk" };
  return new PairingError(code, `${problem}; for programs`, options);
}

Deno.test("errors of the library are reworded for users", async (t) => {
  const rows: [rule: string, error: Error, expectedMessage: string][] = [
    [
      "the connection ends in a file",
      new ConnectionError("for programs", { fault: "broken", missingBytes: 272982784 }),
      "desk closed the connection when 273 MB were missing",
    ],
    [
      "the connection ends in a list",
      new ConnectionError("for programs", { fault: "broken", code: "BODY_INCOMPLETE" }),
      "desk closed the connection before all data had arrived; run the same command again",
    ],
    [
      "a line that is over",
      makePairingError(
        "NOT_OPEN",
        "line unusable",
        "no invitation is open at an address of the line",
      ),
      'no invitation is open at an address of the line; run "degu invite" again on the other device; if another device has used it, ' +
      '"degu peers" there lists that device',
    ],
    [
      "a second receiver",
      makePairingError("BUSY", "busy", "desk is asking about another device"),
      "desk is asking about another device: if you have not started that, answer no on the other device; " +
      `then ${RUN_AGAIN}`,
    ],
    [
      "a last answer that is lost",
      answerLostError("the last answer of desk did not arrive"),
      "the last answer of desk did not arrive, so it may trust this device already: " +
      'run "degu pair" on both devices',
    ],
  ];
  await testEachRow(t, rows, (_rule, error, expectedMessage) => {
    assertEquals(explain(error, "desk"), expectedMessage);
  });
});

Deno.test("log lines of the library are reworded for users", async (t) => {
  const from = "192.168.1.8:51056";
  const rows: [rule: string, line: string, expectedMessage: string, error: Error | null][] = [
    [
      "numbers that strangers have used up",
      "for programs",
      `5 devices have asked, and no number was confirmed, so no other device can ask: use a line, or ${RUN_AGAIN}; if you did not ` +
      "run degu on these devices, another person in this network did",
      new PairingError("NOT_OPEN", "for programs"),
    ],
    [
      "space",
      "there is too little space: 2000000 bytes are needed, and 1390000 are free; /i keeps 5000 bytes of " +
      "interrupted uploads",
      "there is too little space: 2.00 MB are needed, and 1.39 MB are free; /i keeps 5.00 kB of " +
      "interrupted uploads",
      null,
    ],
  ];
  await testEachRow(t, rows, (_rule, line, expectedMessage, error) => {
    const details = error === null ? undefined : { who: from, error };
    assertEquals(rewordLogLine(line, details), expectedMessage);
  });
});

Deno.test("a reworded log line names the peer and the file, if they are known", () => {
  const lines: string[] = [];
  const from = "127.0.0.1:5000";
  const requestOf = () => ({ peer: "viewer", file: '"/inbox/a\u202e"' });
  const logger = makeRewordingLogger((_level, line) => void lines.push(line), requestOf);
  const details = (error: Error) => ({ kind: "timeout", who: from, error }) as const;
  const failure = (fields: Partial<ConnectionError>) =>
    new ConnectionError("x", { fault: "timed out", ...fields });
  logger.record("info", "x", details(failure({ silentSeconds: 30 })));
  logger.record("info", "x", details(failure({ unreadSeconds: 30 })));
  logger.record(
    "info",
    "x",
    details(new ConnectionError("x", { fault: "broken", code: "BODY_INCOMPLETE" })),
  );
  logger.record("info", `${from}: a newer request`, details(new Error("x")));
  const closed = new TlsError("CLOSED", "the peer closed the connection");
  logger.record("info", "x", { kind: "handshake", who: from, error: closed });
  const file = '"/inbox/a\u202e"';
  assertEquals(lines, [
    `viewer was silent for 30 s at ${file}, so its connection was closed`,
    `viewer took over 30 s to read what was sent at ${file}, so its connection was closed`,
    `viewer disconnected in the middle of ${file}`,
    "viewer: a newer request",
  ]);
});

Deno.test("a refusal that a disk has caused is logged, and one that the client repeats is for --debug", () => {
  const lines: [level: string, line: string][] = [];
  const requestOf = () => ({ peer: "viewer", file: "a" });
  const logger = makeRewordingLogger((level, line) => void lines.push([level, line]), requestOf);
  const record = (action: "put" | "delete", error?: Error) => {
    const problem = "it was replaced";
    const refusal = { action, path: ["inbox", "a"], status: 409, isInUse: true, problem };
    logger.record("warn", "x", { kind: "app", who: "x", error, refusal } as never);
  };
  record("put");
  record("put", Object.assign(new Error("x"), { code: "EEXIST" }));
  record("delete");
  assertEquals(lines, [
    ["debug", "viewer wanted to put inbox/a: it was replaced"],
    ["warn", "viewer wanted to put inbox/a: it was replaced"],
    ["debug", "viewer wanted to delete inbox/a: it was replaced"],
  ]);
});

/** Runs command lines that fail with an exit code and a part of a message. */
async function testFailures(
  t: Deno.TestContext,
  files: AgentFiles,
  rows: readonly (readonly [code: number, expectedMessage: string, args: readonly string[]])[],
): Promise<void> {
  for (const [code, message, args] of rows) {
    await t.step(args.join(" "), async () => void await files.runToFailure(code, message, ...args));
  }
}

Deno.test("a wrong command line is an error with the words to write, and creates no file", async (t) => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(local, { note: "1", "my report.pdf": "2", "x/y": "3" });
  await fill(share, { "dir/a": "1", "My Documents/x": "2", x: "3", "b.txt": "4" });
  const treeBefore = await readTree(local);
  using _hostname = patch(Deno, "hostname", () => () => "viewer");
  const note = `${local}/note`;
  const sync = (...options: string[]) => ["sync", ...options, local, "camera:"];
  const notRemote = "is not a path on another device: write PEER:PATH, such as camera:photos/1.jpg";
  const copiesFrom = "degu get copies from a peer\n";
  const copiesTo = "degu put copies to a peer\n";
  const onePeer = "this command takes the paths of one peer\n";
  const rows: [code: number, expectedMessage: string, args: string[]][] = [
    // Swapped and missing operands.
    [2, `"camera:" is a path of a peer: write it last; ${copiesFrom}`, ["put", "camera:", note]],
    [2, `"camera:x" is a path of a peer: write it last; ${copiesFrom}`, ["put", "camera:x", "."]],
    [2, `"${note}" is a path of this device: ${copiesTo}`, ["get", note, "camera:"]],
    [2, '"camera:" is a path of a peer: run degu put once for each\n', [
      ...["put", note, "camera:", "desk:"],
    ]],
    [2, `"//camera/dir" ${notRemote}`, ["put", note, "//camera/dir"]],
    [2, `"." is a path of this device: ${copiesTo}`, ["get", ".", "camera:dir/a"]],
    [2, `"camera" ${notRemote}`, ["rm", "camera"]],
    [2, `"note" ${notRemote.replace("camera", "note")}`, ["get", "camera:b.txt", "note", "x"]],
    [2, `"" ${notRemote}`, ["put", note, ""]],
    [2, "what to get? write PEER:PATH before", ["get", "camera"]],
    [2, "what to put? write it before camera:, or - for stdin", ["put", "camera:"]],
    [2, "a path is empty", ["receive", "", "received"]],
    [2, `"camera:x" is a path of a peer: write it last; ${copiesFrom}`, [
      "put",
      "camera:x",
      "camera:",
    ]],
    [2, `"file:///a" is a path of a peer: write it last; ${copiesFrom}`, [
      "put",
      "file:///a",
      "camera:",
    ]],
    // A directory above what was named would share more.
    [1, `--share: "${note}" is not a directory\n`, ["serve", "--share", note]],
    [2, "must be on this device\n", ["sync", "camera:a", "camera:b"]],
    [2, "must be on another device: write PEER:DIR\n", ["sync", local, "camera"]],
    [3, '"camara": the peers are camera\n', ["ls", "camara:"]],
    [3, '"camera.local": the peers are camera\n', ["get", "camera.local:x"]],
    [3, 'there is no peer "": the peers are camera\n', ["ping", ""]],
    [2, `"camera:" and "desk:" differ: ${onePeer}`, ["get", "camera:x", "desk:y", local]],
    [2, `"camera:" and "CAMERA:" differ: ${onePeer}`, ["rm", "camera:x", "CAMERA:y"]],
    // Paths that another program understands.
    [2, "a path begins at the share or the inbox", ["put", note, "rsync://camera/x"]],
    [2, "the shell has not expanded ~; a file of this name is ./~/q", [
      "put",
      "~/q.jpg",
      "camera:",
    ]],
    [2, '"127.0.0.1:7600" is neither a directory nor the line of degu send: leave it out', [
      ...["receive", "127.0.0.1:7600"],
    ]],
    [2, '"camera:" is neither a directory nor the line', ["receive", "camera:"]],
    [2, '"12-alpha-beta" is neither a directory nor the line', [
      "receive",
      "12-alpha-beta",
    ]],
    // A path ends as it was typed.
    [1, '"camera:nothing/" does not exist', ["ls", "camera:nothing/"]],
    [1, '"camera:nothing/" does not exist', ["get", "-r", "camera:nothing/", local]],
    [1, '"camera:.degu-kept" does not exist', ["get", "-r", "--inbox", "camera:.degu-kept"]],
    [1, '"camera" does not exist on this device\n', ["send", note, "camera"]],
    [2, `"${note}" is named twice: name it once\n`, ["send", note, note]],
    [2, `"camera:" is a path of a peer: ${copiesTo}`, ["send", note, "camera:"]],
    [2, `"camera:x/y" is a path of a peer: ${copiesTo}`, ["send", note, "camera:x/y"]],
    [1, '"camera" does not exist on this device\n', ["put", note, "camera", "camera:"]],
    [1, `"${note}" is named twice: name it once\n`, ["put", note, note, "camera:x/"]],
    [1, 'no directory "no-dir/sub" on this device: mkdir -p no-dir/sub\n', [
      "get",
      "camera:b.txt",
      "no-dir/sub/x",
    ]],
    [
      1,
      "does not exist: degu does not expand wildcards, and degu ls lists names\n",
      ["get", "camera:*.jpg", local],
    ],
    // Numbers with a unit: only a wrong one is refused.
    ...["5x", "0", "-5"].map((text): [number, string, string[]] => [
      2,
      `--every: must be a number of seconds, above 0, or a time such as 5m, 2h or 1d; got "${text}"`,
      sync("--every", text),
    ]),
    [
      2,
      '--wait: must be a number of seconds, 0 or more, or a time such as 5m, 2h or 1d; got "5x"',
      [
        ...sync("--wait", "5x"),
      ],
    ],
    ...["5x", "1h"].map((text): [number, string, string[]] => [
      2,
      `--settled: must be a number of seconds, 0 to 900, or a time up to 15m, such as 5m; got "${text}"`,
      sync("--settled", text),
    ]),
    ...["5x", "0.5", "2d"].map((text): [number, string, string[]] => [
      2,
      `must be a number of seconds, 1 to 86400, or a time up to 1d, such as 5m; got "${text}"`,
      ["invite", "--seconds", text],
    ]),
    [2, "--dry-run is for a single run", sync("--dry-run", "--every", "1d")],
    [2, "--keep is for what sync replaces", sync("--keep", "2w")],
    [2, "--no-create is for a directory on this device, and not on camera\n", [
      ...sync("--no-create"),
    ]],
    [2, '"desk" is not a path on another device: write PEER:PATH, such as desk:photos/1.jpg\n', [
      ...["put", `${local}/note`, "desk"],
    ]],
    [2, 'must be a whole number of days, 1 to 36500; got "36h"', sync("--keep", "36h")],
    [
      1,
      `camera:x: "${local}/x" is a directory\n`,
      ["get", "camera:x", local],
    ],
  ];
  // On Windows, the program itself expands ~, and a name has no colon.
  const isOfUnix = ([, , args]: typeof rows[number]) =>
    args[1]?.startsWith("~") || args[1] === "camera:x" && args[0] === "put";
  await testFailures(t, files, rows.filter((row) => Deno.build.os !== "windows" || !isOfUnix(row)));
  using _file = patch(Deno, "lstat", (lstat) => (path) => lstat(path === "a:b" ? note : path));
  const ambiguous = `"a:b" is read as PEER:PATH, and ./a:b as a file\n`;
  await testFailures(t, files, [[2, ambiguous, ["put", "a:b", "camera:"]]]);
  assertEquals(await readTree(local), treeBefore);
});

Deno.test("a peer is named by the beginning of its id that screens show, but not by less", async () => {
  await using files = await AgentFiles.start();
  const { stdout } = await files.runToSuccess("peers");
  const [, id = ""] = stdout.split(/\s+/);
  await fill(files.share, { x: "1" });
  for (const shortId of [id.slice(0, 8), `${id.slice(0, 8)}…`, id.slice(0, 20).toUpperCase(), id]) {
    assertEquals((await files.runToSuccess("ls", `${shortId}:`)).stdout, "x\n");
  }
  await files.runToFailure(3, "there is no peer", "ls", `${id.slice(0, 7)}:`);
  await files.runToSuccess("forget", id.slice(0, 8));
  await files.runToFailure(3, "there is no peer", "ls", "camera:");
});

Deno.test("a wrong option, command or number of arguments prints the usage, and a similar word", async (t) => {
  await using files = await AgentFiles.start();
  const { local } = files;
  await fill(local, { a: "1" });
  const sync = "usage: degu sync [OPTION]... PEER:DIR DIR | DIR PEER:DIR, or --help";
  await testFailures(t, files, [
    [2, `unknown option '--exlude' (Did you mean --exclude?); ${sync}`, ["sync", "--exlude", "x"]],
    [2, "'--dryrun' (Did you mean --dry-run?)", ["sync", "--dryrun", local, "camera:"]],
    [2, "'--deleet' (Did you mean --delete?)", ["sync", "--deleet", local, "camera:"]],
    [2, "'--nofind' (Did you mean --no-find?)", ["sync", "--nofind", local, "camera:"]],
    // An opposite is no similar word.
    [2, `unknown option '--find'; ${sync}`, ["sync", "--find", local, "camera:"]],
    [2, "unknown option '--create'; usage: degu serve", ["serve", "--create"]],
    [2, `unknown option '--update'; ${sync}`, ["sync", "--update", local, "camera:"]],
    [2, "unknown option '-i'; usage: degu rm", ["rm", "-i", "camera:a"]],
    [2, "unknown option '-2'; usage: degu ls", ["ls", "-2", "camera:"]],
    [2, "unknown option '-2'; usage: degu ls", ["ls", "camera:", "-2"]],
    [2, "unknown option '-r.pdf': ./-r.pdf names a file; usage: degu put", [
      ...["put", "-r.pdf", "camera:"],
    ]],
    [2, "unknown option '-x.txt': ./-x.txt names a file; usage: degu send", ["send", "-x.txt"]],
    [2, "unknown option '-x'; usage: degu put", ["put", "-r", "-vx", "camera:"]],
    [2, "unknown option '-f': leave it out\n", ["rm", "-rf", "camera:a"]],
    [2, "unknown option '-10'; usage: degu put", ["put", "-10", "camera:"]],
    [2, "unknown option '-.5': ./-.5 names a file; usage: degu put", [
      ...["put", `${local}/a`, "-.5", "--", "camera:"],
    ]],
    [2, "too many arguments for 'pair': run it on both devices, and --as names the other one\n", [
      ...["pair", "desk"],
    ]],
    [2, "too many arguments for 'invite': --as names the other device\n", ["invite", "desk"]],
    [2, "too many arguments for 'init': --name names the device\n", ["init", "desk"]],
    [2, "too many arguments for 'serve': --share or --inbox names a directory\n", [
      ...["serve", local],
    ]],
    [2, "unknown option '--force'; usage: degu COMMAND [OPTION]...", [
      "--force",
      "get",
      "camera:a",
    ]],
    [1, '"-1" does not exist on this device\n', ["put", "--", "-1", "camera:"]],
    [1, '"-1" does not exist on this device\n', ["put", "--force", "--", "-1", "camera:"]],
    [2, `missing required argument 'to'; ${sync}`, ["sync", local]],
    [2, `too many arguments for 'sync'. Expected 2 arguments but got 3; ${sync}`, [
      ...["sync", local, "camera:", "x"],
    ]],
    [2, "option '--exclude <glob>' argument missing", ["sync", "a", "b:", "--exclude"]],
    [2, `unknown option '--include'; ${sync}`, ["sync", "--include", "x"]],
    [2, "unknown command 'uninstall'; usage: degu service", ["service", "uninstall"]],
    [2, "unknown command 'snyc' (Did you mean sync?); usage: degu COMMAND [OPTION]... [", ["snyc"]],
    [2, "unknown command 'stop'; usage: degu service install|list|remove", ["service", "stop"]],
  ]);
});

Deno.test("a command or an option of another program is refused with what stands for it", async (t) => {
  await using files = await AgentFiles.start();
  const put = (option: string) => ["put", option, "a", "camera:"];
  const rows: [typed: string[], word: string, advice: string][] = [
    ...["cp", "copy", "scp", "push", "upload"].map((word): [string[], string, string] => [
      [word, "a", "camera:"],
      word,
      "use degu put or degu get",
    ]),
    [["pull", "camera:a"], "pull", "use degu get"],
    [["download", "camera:a"], "download", "use degu get"],
    [["fetch", "camera:a"], "fetch", "use degu get"],
    [
      ["mv", "a", "camera:"],
      "mv",
      "use degu sync --move DIR PEER:DIR; degu renames nothing at a peer",
    ],
    [["help", "move"], "move", "use degu sync --move DIR PEER:DIR; degu renames nothing at a peer"],
    [["list"], "list", "use degu ls"],
    [["dir", "camera:"], "dir", "use degu ls"],
    [["delete", "camera:a"], "delete", "use degu rm"],
    [["remove", "camera:a"], "remove", "use degu rm"],
    [["status"], "status", "use degu peers"],
    [["paired"], "paired", "use degu peers"],
    [["devices"], "devices", "use degu peers"],
    [["service", "status"], "status", "use degu service list"],
    [["ls", "-la", "camera:"], "-a", "leave it out"],
    [["ls", "-1", "camera:"], "-1", "leave it out"],
    [["send", "--code", "foo", "a"], "--code", "leave it out"],
    [["send", "-v", "a"], "-v", "leave it out"],
    [["receive", "--progress"], "--progress", "leave it out"],
    [["receive", "--yes"], "--yes", "degu invite and degu join ask nothing"],
    [["pair", "-y"], "-y", "degu invite and degu join ask nothing"],
    [["serve", "--port=80"], "--port=80", "use --listen ADDRESS:PORT"],
    [["service", "install", "--port", "80"], "--port", "use --listen ADDRESS:PORT"],
    [put("-P"), "-P", "use --address HOST:PORT, or leave it out"],
    [put("--exclude=*.o"), "--exclude=*.o", "use degu sync"],
    [["sync", "-i", "a", "camera:"], "-i", "use -v"],
    [
      ["--verbose", "peers"],
      "--verbose",
      "use -V for the version, and -v behind a command that copies",
    ],
    [["-v"], "-v", "use -V for the version, and -v behind a command that copies"],
    // Without it, files would be copied that it would skip.
    [["sync", "-u", "a", "camera:"], "-u", ""],
    [["sync", "--bwlimit=100", "a", "camera:"], "--bwlimit=100", ""],
    // What replaces files, or deletes without a question, is not advised.
    [put("-f"), "-f", ""],
    [["rm", "-i", "camera:a"], "-i", ""],
  ];
  for (const [typed, word, advice] of rows) {
    const kind = word.startsWith("-") ? "option" : "command";
    const end = advice === "" ? "; usage: " : `: ${advice}\n`;
    await testFailures(t, files, [[2, `degu: error: unknown ${kind} '${word}'${end}`, typed]]);
  }
});

Deno.test("options of rsync and scp for what each copy does are ignored; -n, -q and -v are short names", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(local, { a: "1" });
  await fill(share, { b: "2" });
  const short = await files.runToSuccess("sync", "-nv", local, "camera:d");
  const long = await files.runToSuccess("sync", "--dry-run", "--verbose", local, "camera:d");
  assertEquals(short.stdout, long.stdout);
  const ignored = ["-avztprP", "--progress", "--stats"];
  const rsync = await files.runToSuccess("sync", "-n", ...ignored, local, "camera:d");
  assertEquals(rsync.stdout, short.stdout);
  await files.runToSuccess("get", "-zpat", "--compress", "camera:b", local);
  assertMatch((await files.runToSuccess("put", "-rpv", local, "camera:")).stdout, /\/a$/m);
  const quiet = await files.runToSuccess("sync", "-q", local, "camera:e");
  assertEquals([quiet.stdout, quiet.stderr], ["", ""]);
});

Deno.test("errors of the command line have advice", async (t) => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(local, { "file": "1", "other": "2", "dir/a": "1" });
  await makeLinks({ [`${local}/dangling`]: "nothing" });
  await fill(share, { "file": "1" });
  const noEntries = '"camera:file" is a file: it has no entries';
  const noDirectory = `"${local}/file" is not a directory`;
  const port = "must be HOST:PORT, [IPv6]:PORT or HOST, and HOST an IP address of this machine, " +
    '0.0.0.0 or ::; the host is "70000"';
  const nothing =
    "there is no directory to serve: add --share DIR, which peers can read, or --inbox, into which they can put files";
  const rows: [rule: string, code: number, expectedMessage: string, args: string[]][] = [
    [
      "a directory that is missing here",
      1,
      `there is no directory "${local}/no" on this device`,
      ["sync", `${local}/no`, "camera:to"],
    ],
    [
      "a target that is a link to a missing directory",
      1,
      `"${local}/dangling" is a symbolic link to "nothing", which does not exist`,
      ["sync", "camera:to", `${local}/dangling`],
    ],
    [
      "a source that is a link to a missing file",
      1,
      `"${local}/dangling" is a symbolic link to "nothing", which does not exist`,
      ["put", `${local}/dangling`, "camera:"],
    ],
    [
      "a path above the inbox",
      2,
      '"camera:../x": ".." is not allowed: a path begins at the share or the inbox of the peer, ' +
      "and stays below it",
      ["put", `${local}/file`, "camera:../x"],
    ],
    ["a port that is none", 2, `--listen: ${port}`, [
      "serve",
      "--listen",
      "70000",
    ]],
    ["a path through a file", 1, noEntries, ["ls", "camera:file/x"]],
    ["a file to sync", 1, noDirectory, ["sync", `${local}/file`, "camera:to"]],
    ["nothing to serve", 2, nothing, ["serve"]],
    [
      "a name that is too long",
      2,
      `"${"x".repeat(64)}"… (300 in all) has more than 255 bytes of UTF-8`,
      ["put", `${local}/file`, `camera:${"x".repeat(300)}`],
    ],
    [
      "a file of the share, of rm",
      1,
      '"camera:file" is not in the inbox: it is in the share; peers can only read the share',
      ["rm", "camera:file"],
    ],
    [
      "--move and --delete",
      2,
      "--move and --delete can't be combined, because the next run would delete the moved files from camera: " +
      "leave out one of the two",
      ["sync", "--move", "--delete", `${local}/dir`, "camera:to"],
    ],
  ];
  await fill(files.inbox, { "theirs": "1" });
  await testEachRow(t, rows, async (_rule, code, expectedMessage, args) => {
    const stderr = await files.runToFailure(code, expectedMessage, ...args);
    assertEquals(stderr, `degu: error: ${expectedMessage}\n`);
    assertShort(stderr, local);
  });
});

Deno.test("a file instead of the device's directory is an error", async () => {
  await using homes = await AgentHomes.create();
  await fill(homes.path, { "file": "1" });
  await homes.runToFailure("file", 1, /^degu: error: --home: .*\/file is a file, or/, ["peers"]);
});

/** Checks that a message has at most three lines of 80 columns, without the path of a directory. */
function assertShort(message: string, path: string): void {
  assert(message.replaceAll(path, "").length <= 240, message);
}

Deno.test("each message about a peer has its name, with --json as well", async (t) => {
  await using files = await AgentFiles.start();
  const { homes, local, share, inbox } = files;
  await fill(local, { "a": "1", "b": "2", "dir/a": "3" });
  await fill(share, { "a": "1" });
  await fill(inbox, { "b": "other" });
  await homes.init("off", "other");
  for (const name of ["off", "other"]) await homes.pair(name, "viewer");
  await using other = await Device.open(homes.joinPath("other"));
  const logger = new RecordingLogger();
  const app = () => [500, "Internal Server Error", {}, null] as const;
  await using server = await other.serve(LOOPBACK, app, { logger });
  const at = ["--address", formatAddress(server.address)];
  const silent = "off does not answer (127.0.0.1:1: no program listens)";
  const off = `${silent}: run "degu serve" on off\n`;
  const stored = "without --address, the stored addresses of camera are used\n";
  const wrong = `another device answers at ${at.at(-1)}, or camera has a new identity; ${stored}`;
  // The peer may serve at another address than the typed one.
  const unusedAt = ["--address", "127.0.0.1:1"];
  const unused = `degu: error: camera does not answer (127.0.0.1:1: no program listens): ${stored}`;
  const unknownAt = ["--address", "nosuch.invalid"];
  const unknown =
    `camera does not answer (nosuch.invalid:7443: the name can't be looked up): ${stored}`;
  const dir = `${local}/dir`;
  const rows: [rule: string, expectedMessage: string, args: string[]][] = [
    ["offline: ls --inbox", off, ["ls", "--inbox", "off:"]],
    ["offline: sync to the peer", off, ["sync", dir, "off:"]],
    ["offline: --wait", off, ["ping", "--wait", "0.05", "off"]],
    ["offline: ls", off, ["ls", "off:"]],
    ["offline: get", off, ["get", "off:a", local]],
    ["offline: sync from the peer", off, ["sync", "off:", dir]],
    ["another device: ls", wrong, ["ls", "camera:", ...at]],
    ["no program at the address: ls", unused, ["ls", "camera:", ...unusedAt]],
    ["an address without a host: ping", unknown, ["ping", "camera", ...unknownAt]],
    [
      "an internal problem",
      "other has an internal problem (status 500)",
      ["ls", "other:", ...at],
    ],
  ];
  await testEachRow(t, rows, async (_rule, expectedMessage, args) => {
    const { stderr } = await files.run(...args, "--no-find");
    assertStringIncludes(stderr, expectedMessage);
    for (const line of stderr.split("\n")) assertShort(line, local);
    assert(!/the peer|the other device|PEER/.test(stderr), stderr);
    const objects = parseObjects(await files.run("--json", ...args, "--no-find"));
    const { error } = objects.find((object) => "error" in object)!;
    const { message } = error as { message: string };
    assertStringIncludes(`degu: error: ${message}\n`, expectedMessage);
  });
  await t.step("a peer that has forgotten this device", async () => {
    await homes.runToSuccess("camera", ["forget", "viewer"]);
    const expectedMessage =
      /(^|\n)degu: error: .*camera closed the connection without an answer; .* "degu peers" on camera, run "degu pair"/;
    using pauses = skipPauses();
    for (const args of [["ls", "camera:"], ["put", `${local}/a`, "camera:"], ["ping", "camera"]]) {
      await using agent = files.start(args, { onText: (_to, text) => pauses.note(text) });
      const { stderr } = await agent.waitForEnd();
      assertMatch(stderr, expectedMessage);
    }
  });
});

Deno.test("an error has no part of an invitation line", async () => {
  await using files = await AgentFiles.start();
  const secret = "A".repeat(90);
  using _hostname = patch(Deno, "hostname", () => () => "viewer");
  const rows: [code: number, args: string[], expectedMessage: string][] = [
    [2, ["join", `degu:${secret}`, "BBBB"], "too many arguments for 'join'"],
    [2, ["receive", `degu-send:${secret}`, "dir", "BBBB"], "too many arguments for 'receive'"],
    [2, ["pair", `degu:${secret}`], "too many arguments for 'pair'"],
    [2, [`degu:${secret}`], "unknown command 'degu:…'"],
    [2, ["join", "--as", `degu:${secret}`, "-"], "--as: must be 1 to 63 letters"],
    [2, [`degu-send:${secret}`], "unknown command 'degu-send:…'"],
    [1, ["send", `degu:${secret}`], '"degu:…" does not exist'],
    [1, ["send", `degu-send:${secret}`], '"degu-send:…" does not exist'],
    [1, ["send", `\ndegu:${secret}`], '"\\ndegu:…" does not exist'],
    [3, ["forget", `x\tdegu:${secret}`], "there is no peer"],
    [2, ["ls", "--address", `degu-send:${secret}`, "camera:"], "--address: must have a port"],
    [2, ["ls", "--address", `degu:${secret}`, "camera:"], "--address: must have a port"],
    [
      1,
      ["send", `degu-send:${secret.slice(40)} ${secret.slice(60)}`],
      '"degu-send:…" does not exist',
    ],
    [1, ["send", `degu-send:${secret.slice(40)}\n${secret.slice(60)}`], '"degu-send:…" does not'],
    [1, ["rm", "camera:no", `camera:degu-send:${secret}`], '"camera:degu-send:…" does not exist'],
    [3, ["id", "--home", `${files.local}/degu-send:${secret}`], "degu-send:…"],
  ];
  for (const [code, args, message] of rows) {
    const stderr = await files.runToFailure(code, message, ...args);
    assert(!/AAAA|BBBB/.test(stderr), stderr);
    const { stdout } = await files.run(...args, "--json");
    assert(!/AAAA|BBBB/.test(stdout), stdout);
  }
});
