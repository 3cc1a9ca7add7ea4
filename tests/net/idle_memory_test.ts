/** The memory of a connection that waits for its next message. */
import { IdleRead } from "@degu/internal/net/client/client_connection.ts";
import { Transport } from "@degu/internal/net/transport/transport.ts";
import type { Socket } from "@degu/degu";
import { assertEquals } from "@std/assert";

Deno.test("the buffer of a connection that waits for the next preamble is no larger than the last message required", () => {
  const bufferLengths: number[] = [];
  const socket: Socket = {
    read(into) {
      bufferLengths.push(into.length);
      return new Promise(() => {});
    },
    write: (bytes) => Promise.resolve(bytes.length),
    close() {},
    ref() {},
    unref() {},
  };
  const transport = new Transport(socket, null, () => {});
  // Grow the buffer as after a large body.
  transport.readBuffer.grow(65536);
  new IdleRead(transport, socket).start();
  assertEquals(bufferLengths, [16384]);
  transport.close();
});
