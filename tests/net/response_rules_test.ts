/** Which responses a client refuses, and which errors of a socket mean that its peer has left. */
import { assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "@degu/degu/base";
import type { ResponsePreamble } from "@degu/internal/base/wire/preamble.ts";
import { checkPossible, isReset } from "@degu/internal/net/response_rules.ts";

function preamble(status: number, framing: ResponsePreamble["framing"]): ResponsePreamble {
  return { status, framing } as ResponsePreamble;
}

Deno.test("an interim response is refused, and so is a 204 that announces a body", () => {
  for (let status = 100; status < 600; status++) {
    for (const framing of [null, 0, 5, "chunked"] as const) {
      const isPossible = status >= 200 && (status !== 204 || framing === null);
      if (isPossible) {
        checkPossible(preamble(status, framing));
      } else {
        const error = assertThrows(() => checkPossible(preamble(status, framing)), ProtocolError);
        assertEquals(error.code, "UNEXPECTED_STATUS");
      }
    }
  }
});

Deno.test("only a reset, an abort and a broken pipe mean that the peer has left", () => {
  const { ConnectionReset, ConnectionAborted, BrokenPipe, TimedOut, BadResource, Interrupted } =
    Deno.errors;
  for (const Class of [ConnectionReset, ConnectionAborted, BrokenPipe]) {
    assertEquals(isReset(new Class()), true);
  }
  for (const other of [new TimedOut(), new BadResource(), new Interrupted(), new Error("reset")]) {
    assertEquals(isReset(other), false);
  }
  assertEquals([isReset(null), isReset("ConnectionReset")], [false, false]);
});
