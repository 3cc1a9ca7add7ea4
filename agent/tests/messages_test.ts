/** The messages of the program for errors of the library. Each row has the name of its case. */
import { markSocketError } from "@degu/internal/net/transport/connection_errors.ts";
import { ProtocolError, TlsError } from "@degu/degu";
import { PairingError, type PairingErrorCode } from "@degu/device";
import { TransferError } from "@degu/files";
import { explain, makeRewordingLogger, rewordLogLine } from "@degu/internal/agent/explain.ts";
import { connectionErrorDetails } from "@degu/internal/base/connection_error_details.ts";
import { answerLostError } from "@degu/internal/device/join.ts";
import { explainTransfer } from "@degu/internal/agent/transfer_errors.ts";
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { fill } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertMatch } from "@std/assert";

const GIGABYTE = 1_000_000_000;
const RUN_AGAIN = "run the same command again";
const keeps = '; "degu serve" on desk prints the size of partial uploads';

Deno.test("the needed and the free space are printed in units, for both devices", async (t) => {
  const full = (details: object) => new TransferError("DISK_FULL", "for programs", details);
  const remote = (details: object) => full({ at: "remote", ...details });
  const local = (details: object) => full({ at: "local", ...details });
  const kept = { path: "/t/.x.degu-part", bytes: 12345678 };
  const rows: [rule: string, error: Error, expectedMessage: string][] = [
    [
      "there",
      remote({ needed: 3.2 * GIGABYTE, free: 1.1 * GIGABYTE }),
      `needs 3.20 GB, and 1.10 GB are free on desk: free some space and ${RUN_AGAIN}${keeps}`,
    ],
    [
      "there, when it fills up",
      remote({ free: 0 }),
      `no space is left on desk, or a quota is reached: free some space and ${RUN_AGAIN}${keeps}`,
    ],
    [
      "here",
      local({ needed: 2500, free: 950 }),
      `needs 2.50 kB, and 950 B are free on this device: free some space and ${RUN_AGAIN}`,
    ],
    [
      "here, when it fills up",
      local({ kept }),
      `no space is left on this device, or a quota is reached: free some space and ${RUN_AGAIN}; ` +
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
      connectionErrorDetails.set(new Error("for programs"), {
        fault: "broken",
        missingBytes: 272982784,
      }),
      "desk closed the connection when 273 MB were missing",
    ],
    [
      "the connection ends in a list",
      new ProtocolError("BODY_INCOMPLETE", "for programs"),
      'desk closed the connection before all data had arrived; check that "degu serve" still runs on desk, and try again',
    ],
    [
      "a line that is over",
      makePairingError("NOT_OPEN", "line unusable", "this line is not open any more"),
      'this line is not open any more; run "degu invite" again on the other device; if you have not used the line, ' +
      '"degu peers" on it lists the device that has',
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
      "the last answer of desk did not arrive, so it may trust this device already: pair the two devices " +
      'again, or "degu forget" this device on the other one',
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
  const failure = (details: object) => markSocketError(new Deno.errors.TimedOut("x"), details);
  logger.record("info", "x", details(failure({ silentSeconds: 30 })));
  logger.record("info", "x", details(failure({ unreadSeconds: 30 })));
  logger.record("info", "x", details(new ProtocolError("BODY_INCOMPLETE", "x")));
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

Deno.test("swapped and missing operands are errors that name the right command", async (t) => {
  await using files = await AgentFiles.start();
  await fill(files.local, { note: "x" });
  await fill(files.share, { "dir/a": "x" });
  const note = `${files.local}/note`;
  const toPut = "the target comes last: degu put";
  const toGet = "the target comes last: degu get";
  const twoWords = "if camera is the peer, write camera";
  const rows: [rule: string, code: number, expectedMessage: string, args: string[]][] = [
    ["put: the peer first", 2, `${toPut} ${note} camera:`, ["put", "camera:", note]],
    [
      "put: from the peer",
      2,
      "where to? to copy it to this device, run degu get camera:dir/a .",
      ["put", "camera:dir/a", "."],
    ],
    ["sync: no target", 2, `where to? write PEER:DIR after "${note}"`, ["sync", note]],
    ["ls: a misspelled peer", 3, '"camara": Did you mean camera?', ["ls", "camara:"]],
    ["get: the target first", 2, `${toGet} camera:dir/a .`, ["get", ".", "camera:dir/a"]],
    ["ls: a path without a colon", 2, `${twoWords}:dir`, ["ls", "camera", "dir"]],
  ];
  await testEachRow(t, rows, async (_rule, code, expectedMessage, args) => {
    await files.runToFailure(code, expectedMessage, ...args);
  });
});

Deno.test("for a name that the shell has split at its spaces, an error has the words to write", async (t) => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(local, { "my report.pdf": "x", "a": "1" });
  await fill(share, { "My Documents/x": "1" });
  const pdf = `quote a name with spaces: '${local}/my report.pdf'`;
  const quote = "quote a name with spaces: 'camera:My Documents/x'";
  const noSpace = "write camera:holiday, without a space after the colon";
  const rows: [code: number, args: string[], expectedMessage: string][] = [
    [2, ["rm", "camera:My", "Documents/x"], quote],
    [2, ["ls", "camera:", "holiday"], noSpace],
    [2, ["put", `${local}/a`, "camera:sub", "dir/"], "quote a name with spaces: 'camera:sub dir/'"],
  ];
  await testEachRow(t, rows.map((row) => [row[1].join(" "), ...row] as const), async (
    _rule,
    code,
    args,
    expectedMessage,
  ) => {
    await files.runToFailure(code, expectedMessage, ...args);
  });
  using _hostname = patch(Deno, "hostname", () => () => "viewer");
  await files.runToFailure(2, pdf, "send", `${local}/my`, "report.pdf");
});

Deno.test("a path that another program understands is refused with the words to write", async (t) => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(local, { a: "1" });
  await fill(share, { x: "1" });
  const a = `${local}/a`;
  const rows: [code: number, args: string[], expectedMessage: string][] = [
    [
      2,
      ["put", a, "rsync://camera/x"],
      "is a URL: write the name of a peer, a colon and a path, as in camera:x",
    ],
    [
      2,
      ["ping", "camera", "--address", "http://me:pw@192.0.2.1:7443/x"],
      "--address: it is a URL: write its host, and its port if needed, as in 192.0.2.1:7443\n",
    ],
    [
      2,
      ["ls", "camera::x"],
      "written as for rsync's daemon: write camera:x; for a name with a colon, camera:./:x",
    ],
    [2, ["ls", "camera@192.0.2.1:x"], "as in PEER:x --address 192.0.2.1\n"],
    [2, ["put", "~/q.jpg", "camera:"], "the shell has not expanded ~: leave out the quotes"],
    [3, ["ping", ""], 'there is no peer "": is a variable of the shell empty?'],
    [1, ["get", "camera: x"], '"camera: x" does not exist: write no space after the colon'],
    [2, ["put", a, "camera:C:\\x\\y"], "has a path of Windows"],
    [
      1,
      ["get", "-r", "--inbox", "camera:.degu-kept"],
      "earlier versions are on camera, in .degu-kept of its inbox: copy a version out of it on camera",
    ],
    [
      1,
      ["get", "--inbox", "camera:old/file"],
      "may be in another directory of the inbox, and can be moved on camera",
    ],
  ];
  // On Windows, the program itself expands ~, and a name has no colon.
  const isWindows = Deno.build.os === "windows";
  for (const [code, args, message] of rows) {
    if (isWindows && args.some((arg) => arg.includes("~"))) continue;
    await t.step(args.join(" "), async () => void await files.runToFailure(code, message, ...args));
  }
  if (isWindows) return;
  using _hostname = patch(Deno, "hostname", () => () => "machine.lan");
  await files.runToFailure(1, 'if camera is a peer, write "degu put"', "send", a, "camera:");
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

Deno.test("options that users of scp and rsync type first are refused with advice; -n, -q and -v are short names", async (t) => {
  await using files = await AgentFiles.start();
  const { local } = files;
  await fill(local, { a: "1" });
  const kept = "times and permission bits are always kept";
  const a = `${local}/a`;
  const rows: [args: string[], expectedMessage: string][] = [
    [["get", "-P", "22", "camera:x"], "for a port, write --address HOST:PORT"],
    [["sync", "-avz", local, "camera:"], `${kept}; unknown option '-z': leave it out`],
    [["rm", "-rf", "camera:x"], "unknown option '-f': leave it out, because degu rm does not ask"],
    [["put", "--dry-run", a, "camera:"], "only degu sync has it"],
    [["serve", "--port", "8000", "--inbox"], "write --listen 0.0.0.0:PORT\n"],
    // Other options have no advice, and a name without letters is perhaps a file.
    [["sync", "--link-dest=../a", local, "camera:"], "unknown option '--link-dest=../a'; see"],
    [["put", "-az.txt", a, "camera:"], "unknown option '-az.txt'; to name a file, write ./ before"],
  ];
  for (const [args, message] of rows) {
    await t.step(args.join(" "), async () => void await files.runToFailure(2, message, ...args));
  }
  const short = await files.runToSuccess("sync", "-nv", local, "camera:d");
  const long = await files.runToSuccess("sync", "--dry-run", "--verbose", local, "camera:d");
  assertEquals(short.stdout, long.stdout);
  assertMatch((await files.runToSuccess("put", "-rv", local, "camera:")).stdout, /\/a$/m);
  const quiet = await files.runToSuccess("sync", "-q", local, "camera:e");
  assertEquals([quiet.stdout, quiet.stderr], ["", ""]);
});
