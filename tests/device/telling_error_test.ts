/** Which of several errors is thrown. */
import { assertEquals, assertMatch, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import {
  forgottenHint,
  mostInformative,
  type Sought,
} from "@degu/internal/device/device_client.ts";

const sought: Sought = { name: "camera", addresses: [["::1", 80, 0, 0]], stored: true };

Deno.test("the most informative error is thrown, with its class and all others attached", () => {
  const refused = new Deno.errors.ConnectionRefused("refused");
  const stranger = new TlsError("UNTRUSTED", "a stranger");
  const alert = new TlsError("REFUSED_BY_PEER", "an alert");
  const expired = new TlsError("EXPIRED", "too old");
  const timedOut = new Deno.errors.TimedOut("too long");
  const unreachable = Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
  const denied = new Deno.errors.NotCapable("no --allow-net");
  const rows: [errors: Error[], best: Error][] = [
    [[refused], refused],
    [[timedOut, refused], refused],
    [[unreachable, timedOut], timedOut],
    [[unreachable], unreachable],
    [[refused, stranger, timedOut], stranger],
    [[stranger, expired], expired],
    [[expired, alert], alert],
    [[refused, denied], denied],
  ];
  for (const [errors, best] of rows) {
    const cause = new AggregateError(errors);
    const error = mostInformative(cause, sought);
    assertStringIncludes(error.message, best.message);
    assertStrictEquals(error.constructor, best.constructor);
    assertEquals((error as { code?: unknown }).code, (best as { code?: unknown }).code);
    assertStrictEquals(error.cause, cause);
  }
  const { message } = mostInformative(new AggregateError(["text"]), sought);
  assertStringIncludes(message, 'text; "camera" doesn\'t serve at its stored address [::1]:80');
});

Deno.test("the error also says what to do, unless that is obvious", () => {
  const rows: [error: Error, hint: RegExp | null][] = [
    [new Deno.errors.ConnectionRefused("refused"), /at its stored address \[::1\]:80: start its/],
    [Object.assign(new Error("no route"), { code: "EHOSTUNREACH" }), /doesn't serve at/],
    [new TlsError("REFUSED_BY_PEER", "an alert"), /; "camera" has probably forgotten this device/],
    [new TlsError("UNTRUSTED", "a stranger"), null],
    [new Deno.errors.NotCapable("no --allow-net"), null],
    [new Deno.errors.PermissionDenied("no"), null],
  ];
  for (const [error, hint] of rows) {
    const { message } = mostInformative(new AggregateError([error]), sought);
    if (hint === null) assertEquals(message, error.message);
    else assertMatch(message, hint);
  }
  const given = { ...sought, addresses: [["a", 1], ["b", 2]], stored: false } as const;
  const { message } = mostInformative(new AggregateError([new Error("x"), new Error("y")]), given);
  assertStringIncludes(message, "at the given addresses a:1, b:2: start its server, pass other");
  assertStringIncludes(forgottenHint("rover"), '"rover"');
});
