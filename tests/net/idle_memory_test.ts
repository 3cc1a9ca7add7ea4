/** The memory of a connection that waits for its next message. */
import { Transport } from "@degu/internal/net/transport.ts";
import { assertEquals } from "@std/assert";

Deno.test("the buffer of a connection that waits for its next preamble is no larger than the last message has needed", () => {
  const offered: number[] = [];
  const transport = new Transport({
    read(into) {
      offered.push(into.length);
      return new Promise(() => {});
    },
    write: (bytes) => Promise.resolve(bytes.length),
    close() {},
  }, null);
  // As after a body that was large.
  transport.reader.grow(65536);
  transport.rest();
  assertEquals(offered, [16384]);
  transport.close();
});
