import { assertEquals, assertMatch } from "@std/assert";
import { DeguError, EmptyPreambleError, TlsError } from "@degu/degu/base";
import {
  exitCodeOf,
  explain,
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
