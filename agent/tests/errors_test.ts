/** The messages of errors: the subject and the reason. */
import { ConnectionClosedError, ConnectionError, StatusError } from "@degu/degu/client";
import { DeviceError, PairingError, type PairingErrorCode } from "@degu/degu/device";
import { TransferError, type TransferErrorCode } from "@degu/degu/files";
import { toListenFailure } from "@degu/internal/agent/machine/addresses.ts";
import { explain, rewordLogLine } from "@degu/internal/agent/words/explain.ts";
import { codeOf, exitCodeOf } from "@degu/internal/agent/words/error_codes.ts";
import { EXIT_CODES, Failure } from "@degu/internal/agent/failure.ts";
import { checkNotReserved } from "@degu/internal/agent/peer/remote_files.ts";
import { AgentFiles, parseObjects } from "./agent_files.ts";
import { AgentHomes, type AgentResult } from "@degu/testing/agents.ts";
import { fill, listNames, readTree } from "@degu/testing/directories.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AS_USER, canRun } from "../../files/tests/refused_writes.ts";
import { patch } from "@degu/testing/patching.ts";

const withCode = (error: Error, code: string) => Object.assign(error, { code });
const { PermissionDenied, TimedOut } = Deno.errors;

Deno.test("an error of the system names the path, and the reason of the system", async (t) => {
  const rows: [rule: string, message: string, expectedMessage: string][] = [
    ["looked at", "Permission denied (os error 13): stat '/x/y'", '"/x/y": permission denied'],
    ["by Node's module", "EACCES: permission denied, open '/x'", '"/x": permission denied'],
    [
      "renamed",
      "Permission denied (os error 13): rename '/a/.degu-files/p' -> '/a/b'",
      '"/a/b": permission denied',
    ],
    [
      "a reserved name",
      "Permission denied (os error 13): open 'a/.b.degu-part'",
      '"a": permission denied',
    ],
    ["a quote", "Permission denied (os error 13): stat '/it's'", '"/it\'s": permission denied'],
    ["read-only", "Read-only file system (os error 30): mkdir '/x'", '"/x": read-only file system'],
    [
      "gone",
      "No such file or directory (os error 2): open '/x'",
      '"/x": no such file or directory',
    ],
    ["a file on the way", "Not a directory (os error 20): open '/f/x'", '"/f/x": not a directory'],
    [
      "busy",
      "Device or resource busy (os error 16): rename '/a' -> '/x'",
      '"/x": device or resource busy',
    ],
    ["an unknown number", "Strange (os error 999): stat '/x'", '"/x": strange'],
    ["Windows", "Access is denied. (os error 5): rename 'a' -> 'C:/x'", '"C:/x": access is denied'],
    ["no path", "EACCES: denied", "EACCES: denied"],
    ["no error of the system", "why", "why"],
  ];
  await testEachRow(t, rows, (_rule, message, expectedMessage) => {
    assertEquals(explain(new Error(message)), expectedMessage);
  });
  const stale = Object.assign(new Error("UNKNOWN: unknown error, read '/x'"), { errno: -116 });
  assertEquals(explain(withCode(stale, "UNKNOWN")), '"/x": unknown error (errno 116)');
  const tooLarge = new Error("File too large (os error 27): write '/dir/.degu-files/part'");
  assertEquals(explain(tooLarge), 'in "/dir": file too large');
});

Deno.test("a reworded log line names the local path", () => {
  const line = 'two: PUT "/inbox/new": PermissionDenied: Permission denied (os error 13): ' +
    "rename '/i/.degu-files/part' -> '/i/new'";
  const message = rewordLogLine(line, { error: withCode(new PermissionDenied(), "EACCES") });
  assertMatch(message, /^two: PUT "\/inbox\/new": "\/i\/new": permission denied$/);
  const read = "two: GET \"/share/a\": a: Error: EIO: i/o error, read '/share/a'";
  assertEquals(
    rewordLogLine(read, { error: withCode(new Error(), "EIO") }),
    'two: GET "/share/a": a: "/share/a": i/o error',
  );
  assertEquals(rewordLogLine("invitation: 3 wrong so far"), "invitation: 3 wrong so far");
});

Deno.test({
  name: "each command and the served peer report the path of a denied access (needs unshare)",
  ignore: Deno.build.os !== "linux" || !await canRun(...AS_USER),
  async fn(t) {
    // With --allow-all, Deno names more paths.
    const permissions = ["env", "net", "read", "sys", "write"].map((each) => `--allow-${each}`);
    const flags = [...importMapFlags(), ...permissions];
    const printed = await runProgram("agent_denied.ts", { flags, through: AS_USER });
    const ends: { rule: string; code: number; said: string }[] = JSON.parse(printed);
    const rows: [rule: string, expectedMessage: string][] = [
      ["put: a file", `degu: error: "/here/secret": permission denied`],
      ["put: a directory", `degu: error: "/here/closed/x": permission denied`],
      ["put: the others", `degu: error: "/here/closed/x": permission denied`],
      ["get: into it", `camera:a: "/here/closed/a": permission denied`],
      ["get: in it", `degu: error: "/here/closed/b": permission denied`],
      ["get: to write", `camera:a: "/here/fixed": permission denied`],
      ["get: to make", `camera:a: "/here/fixed/new": permission denied`],
      ["sync", `degu: error: "/here/closed": permission denied`],
      ["peers: the device", `degu: error: "/viewer/device.json": permission denied`],
      ["peers: its peers", `degu: error: "/viewer/peers": permission denied`],
      ["serve: the share", `degu: error: --share: "/here/closed": permission denied`],
      ["serve: its names alone", `degu: error: --share: "/here/closed/x": permission denied`],
      ["serve: the inbox", `degu: error: --inbox: "/here/fixed": permission denied`],
      ["serve: a new inbox", `degu: error: --inbox: "/here/fixed/new": permission denied`],
      ["serve: an empty inbox", `degu: error: --inbox: "/here/empty": permission denied`],
      ["serve: the records", `degu: error: "/inboxes": permission denied`],
      ["receive", `degu: error: "/here/closed": permission denied`],
      ["send", `degu: error: "/here/closed/x": permission denied`],
      ["restore", `degu: error: "/here/closed": permission denied`],
      [
        "a served file",
        `"camera:a" is an entry that camera may not read: see its permissions there`,
      ],
      ["a served directory", `"camera:closed": camera can't read it: see its permissions there`],
      [
        "the served end",
        `camera can't write to its inbox: see the output of "degu serve" on camera`,
      ],
      [
        "what serve says",
        `viewer wanted to put inbox/viewer/new: "/inboxes/viewer/new": permission denied`,
      ],
    ];
    assertEquals(ends.map(({ rule }) => rule), rows.map(([rule]) => rule));
    await testEachRow(t, rows, (rule, expectedMessage) => {
      const end = ends.find((each) => each.rule === rule)!;
      assert(end.said.includes(expectedMessage), end.said);
      assert(!/os error|PermissionDenied|127\.0\.0\.1/.test(end.said), end.said);
      assertEquals(end.code, rule.startsWith("what") ? 0 : 1);
    });
  },
});

Deno.test("an address at which listening fails is reported", () => {
  const rows: [rule: string, error: Error, expectedMessage: RegExp][] = [
    [
      "a port below 1024",
      new PermissionDenied("listen EACCES: permission denied 127.0.0.1:80"),
      /^127\.0\.0\.1:80 is not permitted to this user: ports below 1024 need a permission, and ports from 1024 need none$/,
    ],
    [
      "in use",
      new Deno.errors.AddrInUse(),
      /^127\.0\.0\.1:80 is in use: end its program, or choose another with --listen$/,
    ],
    ["not here", new Deno.errors.AddrNotAvailable(), /^127\.0\.0\.1:80 is not an address of this/],
  ];
  for (const [rule, error, expectedMessage] of rows) {
    const failure = toListenFailure([["127.0.0.1", 80]], error);
    assert(failure instanceof Failure, rule);
    assertMatch(failure.message, expectedMessage, rule);
  }
  // Other errors stay as they are.
  const error = new PermissionDenied("no");
  const forbidden = toListenFailure([["127.0.0.1", 1024]], error);
  assertEquals(`${forbidden}`, "Error: 127.0.0.1:1024 is not permitted to this user");
  assertEquals(toListenFailure(["/run/x"], error), error);
});

Deno.test("an invitation names both of its ports if one of them is in use", async () => {
  await using homes = await AgentHomes.create("camera");
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const args = ["invite", "--listen", `127.0.0.1:${port - 1}`, "--serving", "127.0.0.1:1"];
  const ports = `127.0.0.1:${port - 1} or 127.0.0.1:${port}`;
  const message = `${ports} is in use: end its program, or choose another with --listen`;
  await homes.runToFailure("camera", 1, message, args);
});

Deno.test("sync doesn't advise to repeat a command that would fail again", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "dir/a": "1", "dir/b": "2" });
  await fill(inbox, { "dir/a/x": "" });
  for (const options of [["--dry-run"], []]) {
    const syncArgs = ["sync", ...options, `${local}/dir`, "camera:dir"];
    const { code, stderr } = await files.run(...syncArgs);
    assertEquals(code, 1, stderr);
    // A single error needs no summary.
    assertEquals(stderr.match(/degu: error/g)?.length, 1);
    assert(!stderr.includes("run the same command"), stderr);
  }
});

Deno.test("put reports a blocked or reserved name before it sends a file", async (t) => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "a": "1", "dir/b": "2" });
  await fill(inbox, { "FILE": "", "sub/FILE": "" });
  const reserved = "is reserved for unfinished files and earlier versions";
  const notADirectory = "is a file, not a directory";
  const rows: [rule: string, expectedMessage: string, args: string[]][] = [
    [
      "far below a file",
      `"camera:sub/FILE" ${notADirectory}`,
      ["put", `${local}/a`, "camera:sub/FILE/x/y"],
    ],
    ["sync", '"camera:FILE" is a file', ["sync", `${local}/dir`, "camera:FILE/x"]],
    ["a reserved name", `".a.degu-part" ${reserved}`, ["put", `${local}/a`, "camera:.a.degu-part"]],
    ["sync to one", `".degu-files" ${reserved}`, ["sync", `${local}/dir`, "camera:.degu-files"]],
  ];
  await testEachRow(t, rows, async (_rule, expectedMessage, args) => {
    await files.runToFailure(1, expectedMessage, ...args);
  });
  assertEquals(await listNames(inbox), ["FILE", "sub"]);
  checkNotReserved(["a", "b"], "a/b");
});

Deno.test("an address of an interface that this machine lacks is reported as such", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  const { code, stderr } = await homes.run("viewer", [
    "ping",
    "camera",
    "--no-find",
    "--address",
    "[fe80::1%gone0]:7443",
  ]);
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /does not answer \(\[fe80::1%gone0\]:7443: this machine has no interface gone0\): without --address/,
  );
});

// The codes of errors, with --json.

type ExitCodeName = keyof typeof EXIT_CODES;

/** The code with which `degu join` ends: a wrong line, an unreachable device, or a refusal. */
const PAIRING_CODES: Record<PairingErrorCode, ExitCodeName> = {
  NOT_AN_INVITATION: "USAGE",
  GARBLED: "USAGE",
  OTHER_VERSION: "USAGE",
  EXPIRED: "USAGE",
  OWN: "USAGE",
  NAME_TAKEN: "USAGE",
  UNREACHABLE: "NO_ADDRESS",
  NOT_OPEN: "REFUSED",
  REFUSED: "REFUSED",
  BAD_ANSWER: "REFUSED",
  ANSWER_LOST: "REFUSED",
  NOT_CONFIRMED: "REFUSED",
  BUSY: "REFUSED",
};

const status = (status: number) => new StatusError({ message: "", status });

function refused(code: TransferErrorCode, cause: number): TransferError {
  return new TransferError(code, "", { cause: status(cause) });
}

/** Errors that need a damaged or full disk, another version of a file, or a special kernel. */
const CODE_ROWS: readonly (readonly [rule: string, error: Error, code: ExitCodeName])[] = [
  ["this disk is full", new TransferError("DISK_FULL", ""), "FULL"],
  ["the disk there is full", refused("DISK_FULL", 507), "FULL"],
  ["the directory there is gone", refused("ROOT_GONE", 503), "NOT_FOUND"],
  ["the file changed", new TransferError("CHANGED", ""), "CHANGED"],
  ["other bytes arrived there", status(400), "CHANGED"],
  ["not writable there", status(403), "NOT_PERMITTED"],
  ["a peer that only adds keeps another", refused("ONLY_ADDS", 412), "ALREADY_EXISTS"],
  ["a peer that only adds deletes nothing", refused("ONLY_ADDS", 405), "NOT_PERMITTED"],
  ["an upload to it is under way", refused("IN_USE", 409), "IN_USE"],
  ["a program has it open", withCode(new Error(), "EBUSY"), "IN_USE"],
  ["a name that the peer can't store", refused("BAD_NAME", 403), "BAD_NAME"],
  [
    "an entry that may not be read",
    new TransferError("UNREADABLE", "", { cause: withCode(new Error(), "EACCES") }),
    "NOT_PERMITTED",
  ],
  ["a file on the way", withCode(new Error(), "ENOTDIR"), "NOT_FOUND"],
  ["no way to the host", new ConnectionError("", { fault: "unreachable" }), "NO_ADDRESS"],
  ["a connection that this program has closed", new ConnectionClosedError(), "FAILED"],
  ["a disk that times out", new Failure("", null, { cause: new TimedOut() }), "FAILED"],
  ["a peer that was forgotten meanwhile", new DeviceError("FORGOTTEN", ""), "NOT_PAIRED"],
  ...Object.entries(PAIRING_CODES).map(([code, expected]) => {
    return [code, new PairingError(code as PairingErrorCode, ""), expected] as const;
  }),
];

Deno.test("with --json the error that ends a command is an object on stdout, with the code that agent/docs/reference.md has", async (t) => {
  await using files = await AgentFiles.start();
  const { local, homes } = files;
  await homes.init("stranger");
  await homes.pair("viewer", "stranger", undefined, `127.0.0.1:${files.address[1]}`);
  await fill(files.share, { "dir/a": "1" });
  await fill(local, { "f": "1", "s/x": "1" });
  await fill(files.inbox, { "d/x": "1", "f": "1", "s": "1" });
  if (HAS_LINKS) await makeLinks({ [`${local}/dir`]: "none", [`${local}/dangling`]: "none" });
  const off = ["--address", "127.0.0.1:1"];
  const rows: [args: string[], code: ExitCodeName, object?: Record<string, string>][] = [
    [["ls"], "USAGE"],
    [["ls", "toaster:"], "NOT_PAIRED", { peer: "toaster" }],
    [["ls", "--no-find", "stranger:"], "REFUSED", { peer: "stranger" }],
    [["ls", ...off, "camera:"], "NO_ADDRESS", { peer: "camera" }],
    [["ls", "camera:no"], "NOT_FOUND", { path: "camera:no", peer: "camera" }],
    [["put", `${local}/no`, "camera:"], "NOT_FOUND", { path: `${local}/no` }],
    [["serve", "--share", `${local}/no`], "NOT_FOUND", { path: `${local}/no` }],
    [["init"], "ALREADY_EXISTS", { path: homes.joinPath("viewer") }],
    [["put", `${local}/f`, "camera:f/"], "ALREADY_EXISTS", { peer: "camera" }],
    [["put", `${local}/f`, "camera:f/x"], "ALREADY_EXISTS", { peer: "camera" }],
    [["put", "-", "camera:d"], "ALREADY_EXISTS", { peer: "camera" }],
    [["put", "-r", `${local}/s`, "camera:f"], "ALREADY_EXISTS", { peer: "camera" }],
    [["put", "-r", `${local}/s`, "camera:"], "ALREADY_EXISTS", { peer: "camera" }],
    [["sync", `${local}/s`, "camera:f"], "ALREADY_EXISTS", { peer: "camera" }],
    [["sync", "camera:dir", `${local}/f`], "ALREADY_EXISTS"],
    [["get", "camera:dir/a", `${local}/f/`], "ALREADY_EXISTS"],
    [["get", "-r", "camera:dir", `${local}/f`], "ALREADY_EXISTS", { peer: "camera" }],
    [["get", "camera:dir", local], "FAILED", { peer: "camera" }],
  ];
  if (HAS_LINKS) {
    rows.push(
      [["get", "camera:dir/a", `${local}/dangling`], "ALREADY_EXISTS"],
      [["get", "-r", "camera:dir", local], "ALREADY_EXISTS", { peer: "camera" }],
    );
  }
  const codes = new Set<string>(CODE_ROWS.map(([, , code]) => code));
  for (const [args, code, object = {}] of rows) {
    await t.step(args.join(" "), async () => {
      const end = await files.run("--json", ...args);
      const [{ error } = {}, ...others] = parseObjects(end);
      assertEquals([others, end.code], [[], EXIT_CODES[code]]);
      const { message, ...rest } = error as Record<string, string>;
      assertEquals(rest, { code, ...object });
      assertEquals(end.stderr, `degu: error: ${message}\n`);
    });
    codes.add(code);
  }
  await t.step("without a permission, without a joiner in time, and interrupted", async () => {
    const denied = await homes.run("new", ["--json", "init"]);
    assertEquals((parseObjects(denied)[0]?.["error"] as { code: string }).code, "NOT_PERMITTED");
    const args = ["invite", "--json", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:1"];
    const expired = await files.run(...args, "--seconds", "1");
    const timedOut = parseObjects(expired)[1]?.["error"] as { code: string };
    assertEquals([expired.code, timedOut.code], [1, "TIMED_OUT"]);
    await using invite = files.start(args);
    await invite.waitForLine("degu:");
    invite.kill("SIGINT");
    const end = await invite.waitForEnd();
    const error = { code: "INTERRUPTED", message: "interrupted" };
    assertEquals([end.code, parseObjects(end).slice(1)], [130, [{ error }]]);
  });
  await testEachRow(t, [...CODE_ROWS], (_rule, error, code) => {
    assertEquals([codeOf(error), exitCodeOf(error)], [code, EXIT_CODES[code]]);
  });
  for (const each of ["NOT_PERMITTED", "TIMED_OUT", "INTERRUPTED"]) codes.add(each);
  assertEquals([...codes].toSorted(), Object.keys(EXIT_CODES).toSorted());
  const page = await readProjectFile("agent/docs/reference.md");
  const matches = page.matchAll(/^\| `([A-Z_]+)` +\| (\d+) /gm);
  const documented = Array.from(matches, ([, code, exit]) => [code, Number(exit)]);
  assertEquals(documented, Object.entries(EXIT_CODES));
});

Deno.test("each message that doesn't say what to do is in the page of messages", async () => {
  const page = (await readProjectFile("agent/docs/troubleshooting.md")).replaceAll(/\s+/g, " ");
  const messages = [
    ...[
      "is open to other users (mode ",
      "is truncated, or not of the form that this version writes",
    ],
    ...[
      'has peers, but no directory "identity/device" with its keys',
      "has other files, and no device",
    ],
    ...["is not permitted to this user", "Deno permits no access to "],
    "runs with the permissions of all commands",
  ];
  const modules = [
    "agent/machine/open_device.ts",
    "agent/machine/addresses.ts",
    "agent/words/explain.ts",
    "agent/commands/permissions.ts",
  ];
  modules.push("device/identity/device_directory.ts");
  modules.push("device/identity/private_files.ts");
  const sources = (await Promise.all(modules.map(readProjectFile))).join();
  for (const message of messages) {
    assertStringIncludes(page, message);
    assertStringIncludes(sources, message);
  }
});

/** Makes the disk of a directory refuse names with a question mark. */
function refuseQuestionMarks(dir: string): Disposable {
  const stack = new DisposableStack();
  const check = (operation: string, path: string | URL) => {
    if (!`${path}`.startsWith(dir) || !`${path}`.includes("?")) return;
    const message = `Invalid argument (os error 22): ${operation} '${path}'`;
    throw Object.assign(new Error(message), { code: "EINVAL" });
  };
  stack.use(patch(Deno, "linkSync", (link) => (from, to) => {
    check("link", to);
    link(from, to);
  }));
  stack.use(patch(Deno, "renameSync", (rename) => (from, to) => {
    check("rename", to);
    rename(from, to);
  }));
  stack.use(patch(Deno, "openSync", (open) => (path, options) => {
    if (options?.createNew) check("open", path);
    return open(path, options);
  }));
  stack.use(patch(Deno, "mkdirSync", (mkdir) => (path, options) => {
    check("mkdir", path);
    mkdir(path, options);
  }));
  return stack;
}

const LARGE = "l".repeat(70_000);
const REASON = "can't hold the name: it is refused by its file system";

/** Returns the codes of the failed files that a command printed with --json, by name. */
function codesOf(end: AgentResult): Record<string, unknown> {
  const objects = parseObjects(end).filter(({ error }) => error !== undefined);
  const nameOf = ({ from, path }: Record<string, unknown>) => `${from ?? path}`.split("/").at(-1);
  const codeOf = ({ error }: Record<string, unknown>) => (error as { code: string }).code;
  return Object.fromEntries(objects.map((each) => [nameOf(each), codeOf(each)]));
}

Deno.test("put and sync: each file whose name the disk of the peer refuses has this reason, and the code BAD_NAME", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "t/a?": "1", "t/large?": LARGE, "t/d?/x": "2", "t/ok": "3" });
  using _refusing = refuseQuestionMarks(inbox);
  const peerReason = `the disk of camera ${REASON}`;
  const putTree = ["put", "-r", `${local}/t`];
  for (const command of [[...putTree, "camera:"], ["sync", `${local}/t`, "camera:t"]]) {
    const { code, stderr } = await files.run(...command);
    assertEquals(code, 1);
    for (const name of ["a?", "large?", "d?"]) {
      assertStringIncludes(stderr, `${local}/t/${name}: ${peerReason}`, command[0]);
    }
    const codes = Object.fromEntries(["a?", "large?", "d?", "x"].map((name) => [name, "BAD_NAME"]));
    assertEquals(codesOf(await files.run("--json", ...command)), codes);
  }
  assertEquals(await readTree(inbox), { "t": null, "t/ok": "3" });
  await files.runToFailure(1, peerReason, "put", `${local}/t/a?`, "camera:");
  await files.runToFailure(1, peerReason, ...putTree, "camera:./b?");
});

Deno.test("get and sync: each file whose name this disk refuses has this reason, and the code BAD_NAME", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(share, { "t/a?": "1", "t/large?": LARGE, "t/ok": "3" });
  using _refusing = refuseQuestionMarks(local);
  const reason = "the disk can't hold the name: it is refused by its file system";
  for (const command of [["get", "-r", "camera:t", local], ["sync", "camera:t", `${local}/t`]]) {
    const { code, stderr } = await files.run(...command);
    assertEquals(code, 1);
    for (const name of ["a?", "large?"]) {
      assertStringIncludes(stderr, `camera:t/${name}: ${reason}`);
    }
    const codes = codesOf(await files.run("--json", ...command));
    assertEquals(codes, { "a?": "BAD_NAME", "large?": "BAD_NAME" });
  }
  assertEquals(await readTree(`${local}/t`), { ok: "3" });
  await files.runToFailure(1, "can't hold the name", "get", "camera:t/a?", `${local}/t`);
});
