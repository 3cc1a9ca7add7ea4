/** Which of several errors is told. */
import { assertEquals, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { mostTelling } from "@degu/internal/device/telling_error.ts";

Deno.test("the error that says most is told, of its class, with all of them", () => {
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
    const error = mostTelling(cause);
    assertStringIncludes(error.message, best.message);
    assertStrictEquals(error.constructor, best.constructor);
    assertEquals((error as { code?: unknown }).code, (best as { code?: unknown }).code);
    assertStrictEquals(error.cause, cause);
  }
  assertEquals(mostTelling(new AggregateError(["text"])).message, "text");
});
