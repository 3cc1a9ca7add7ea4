/** Interruption: what happens to a body when its request is aborted. */
import { assertEquals, assertThrows } from "@std/assert";
import { Interruption } from "@degu/internal/base/body/byte_io.ts";
import { thrownBy } from "@degu/testing/expectations.ts";

Deno.test("Interruption rejects the pending operation once, and later ones with the reason itself", () => {
  for (const reason of [new Error("enough"), "enough", undefined, null]) {
    const interruption = new Interruption();
    interruption.throwIfAborted();
    const rejected: unknown[] = [];
    interruption.waiting = (error) => rejected.push(error);
    interruption.abort(reason);
    assertEquals([rejected, interruption.aborted, interruption.waiting], [
      [reason],
      { reason },
      null,
    ]);
    assertEquals(thrownBy(() => interruption.throwIfAborted(), "an aborted one"), reason);
  }
});

Deno.test("Interruption can be aborted even if nothing is pending", () => {
  const interruption = new Interruption();
  interruption.abort(new RangeError("enough"));
  assertThrows(() => interruption.throwIfAborted(), RangeError, "enough");
});
