/** Why a command failed: exit codes and messages. */
import { existsAlready, inTheWay, sameFile, show, TreeNode } from "@degu/internal/files/tree.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { DeguError, EmptyPreambleError, TlsError } from "@degu/degu/base";
import { TransferError } from "@degu/degu/files";
import {
  alreadyThere,
  endsAll,
  exitCodeOf,
  explain,
  explainTransfer,
  Failure,
  Interrupted,
  noAddressAnswers,
  reasonOf,
} from "@degu/internal/agent/failure.ts";

Deno.test("the exit code of an error depends on its meaning", () => {
  const rows = [
    [new Failure(1, "x"), 1],
    [new Failure(2, "x"), 2],
    [new Failure(3, "x"), 3],
    [new Interrupted(), 130],
    [new TlsError("UNTRUSTED", "x"), 3],
    [new TlsError("REFUSED_BY_PEER", "x"), 3],
    [new TlsError("CLOSED", "x"), 1],
    [new TlsError("NOT_TLS", "x"), 1], // nobody has refused

    [new EmptyPreambleError(), 3],
    [new DeguError("x"), 1],
    [new Deno.errors.ConnectionRefused("x"), 1],
    [new Deno.errors.NotCapable("x"), 1],
    [new Error("x"), 1],
    ["x", 1],
  ] as const;
  for (const [error, code] of rows) assertEquals(exitCodeOf(error), code, String(error));
});

Deno.test("a message says what to do next", () => {
  const rows = [
    [new Failure(3, "as it is"), /^as it is$/],
    [new DeguError("as it is"), /^as it is$/],
    [new TlsError("UNTRUSTED", "why"), /^why; another device answers there.*"degu invite"/],
    [new TlsError("REFUSED_BY_PEER", "why"), /^why; the peer does not trust .*"degu invite"/],
    [new TlsError("EXPIRED", "why"), /^why; check the clocks/],
    [new TlsError("WEAK", "why"), /^why$/],
    [new EmptyPreambleError("why"), /^the peer closed the connection .*"degu peers" there/],
    [
      new Deno.errors.ConnectionRefused("why"),
      /^no address answers: why; .*"degu serve".*--address/,
    ],
    [new Deno.errors.TimedOut("why"), /^no address answers: why; /],
    [new Deno.errors.NotCapable("why"), /^why; docs\/agent\.md has the flags/],
    [
      new Deno.errors.NotCapable(
        'Requires all access to "/proc", run again with the --allow-all flag',
      ),
      /^"\/proc" is of the system, .*: choose another path$/,
    ],
    [new Error("why"), /^why$/],
    ["why", /^why$/],
  ] as const;
  for (const [error, expected] of rows) assertMatch(explain(error), expected);
});

Deno.test("where no address answers, each is named once, and the advice is that of the program", () => {
  const errors = [
    new Deno.errors.ConnectionRefused("connect ECONNREFUSED 10.0.0.1:1"),
    Object.assign(new Error("connect EHOSTUNREACH 10.0.0.2:2"), { code: "EHOSTUNREACH" }),
  ];
  const cause = new AggregateError(errors);
  const error = new Deno.errors.ConnectionRefused("x; give the option addresses", { cause });
  const reason =
    "no address answers: connect ECONNREFUSED 10.0.0.1:1; connect EHOSTUNREACH 10.0.0.2:2";
  assertEquals(reasonOf(error), reason);
  assertEquals(explain(error).startsWith(`${reason}; check that "degu serve" runs there`), true);
  const unknown = Object.assign(new Error("getaddrinfo ENOTFOUND camera.local"), {
    code: "ENOTFOUND",
  });
  assertMatch(explain(unknown), /^no address answers: getaddrinfo ENOTFOUND camera\.local; check/);
});

Deno.test("a reason has no advice, which would be given at each attempt", () => {
  assertEquals(
    reasonOf(new EmptyPreambleError()),
    "the peer closed the connection without an answer",
  );
  assertEquals(reasonOf(new TlsError("UNTRUSTED", "why")), "why");
  assertEquals(reasonOf("why"), "why");
});

Deno.test("an error for an unreachable host has only a code", () => {
  assertEquals(noAddressAnswers(Object.assign(new Error("x"), { code: "EHOSTUNREACH" })), true);
  assertEquals(noAddressAnswers(Object.assign(new Error("x"), { code: "EACCES" })), false);
});

const status = (status: number) => new TransferError("STATUS", `status ${status}`, { status });

Deno.test("a status is explained by the operation", () => {
  assertEquals(explainTransfer(status(404), "get"), "it is not there any more");
  assertEquals(explainTransfer(status(412), "put"), explainTransfer(alreadyThere(), "put"));
  assertEquals(
    explainTransfer(status(409), "put"),
    "a directory has this name there, a file has that of its directory, or another command is sending it: " +
      "run the same command again",
  );
  assertEquals(
    explainTransfer(status(409), "delete"),
    "the directory is not empty: remove first what is in it",
  );
  assertEquals(
    explainTransfer(status(418), "get"),
    "the peer has answered with status 418; is another version of degu running there?",
  );
  assertEquals(
    explainTransfer(status(500), "put"),
    'the peer has a problem of its own (status 500): see what "degu serve" prints there',
  );
  assertEquals(
    explainTransfer(status(303), "get"),
    "it is a directory by now: run the same command again",
  );
});

Deno.test("the advice that the library has for programs is not passed on", () => {
  const message = 'HEAD "/a": the server has no SHA-256 of it (repr-digest, RFC 9530)';
  const advice = "call again with verify: false to skip the check";
  const error = new TransferError("UNEXPECTED_RESPONSE", `${message}; ${advice}`);
  assertEquals(
    explainTransfer(error, "get"),
    `${message}; is another version of degu running there?`,
  );
});

Deno.test("what a tree says of one file is told in terms of the program", () => {
  const root = TreeNode.root();
  const node = new TreeNode(root, 'a "b"', "file", 1, 0);
  const other = new TreeNode(root, "A", "file", 1, 0);
  const unreadable =
    `"a \\"b\\"" can't be read where it is; change its permissions, or leave it out by a filter`;
  const rows: [Error, string][] = [
    [existsAlready(node), "another file of this name is there: replace it with --force"],
    [
      inTheWay(node, new TreeNode(root, "a", "directory", 0, 0)),
      "a directory has this name at the target; with --delete it gives way, unless something in it has to " +
      "stay; remove or rename one of the two",
    ],
    [
      sameFile(node, other),
      `${
        show(node.path)
      } and "A" are one file at the target, which takes their names for the same; rename one of them`,
    ],
    [
      new TransferError("UNREADABLE", unreadable),
      "can't be read where it is; change its permissions",
    ],
  ];
  for (const [error, text] of rows) assertEquals(explainTransfer(error, "put"), text);
});

Deno.test("the next file is tried if only this one has failed", () => {
  const goesOn = [
    status(403),
    status(404),
    status(412),
    status(413),
    alreadyThere(),
    new Deno.errors.PermissionDenied(),
    new TransferError("CHANGED", ""),
  ];
  const ends = [
    status(507),
    status(503),
    new TransferError("DISK_FULL", ""),
    new Deno.errors.ConnectionRefused(),
    new TlsError("UNTRUSTED", ""),
  ];
  for (const error of goesOn) assertEquals(endsAll(error), false, Deno.inspect(error));
  for (const error of ends) assertEquals(endsAll(error), true, Deno.inspect(error));
});
