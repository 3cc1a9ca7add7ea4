/** The buffer of a connection's messages: what is sent in one write, and how it grows and shrinks. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { borrowPreambleBuffer, MessageBuffer } from "@degu/internal/net/protocol/message_buffer.ts";

const MAX_JOINED_BYTES = 65536;

/** Makes a buffer that contains a preamble of this length, each byte 1. */
function takePreamble(buffer: MessageBuffer, length: number): void {
  buffer.take(borrowPreambleBuffer().fill(1, 0, length), length);
}

const makeBody = (length: number) => new Uint8Array(length).fill(2);

Deno.test("a preamble and a body of at most 64 KiB together are one message", () => {
  for (
    const [preambleBytes, bodyBytes] of [[10, 0], [10, 1014], [10, 1015], [10, 65526]] as const
  ) {
    const buffer = new MessageBuffer();
    takePreamble(buffer, preambleBytes);
    const message = buffer.append(preambleBytes, makeBody(bodyBytes))!;
    assertEquals(message.length, preambleBytes + bodyBytes);
    assert(message.every((byte, i) => byte === (i < preambleBytes ? 1 : 2)));
  }
  const buffer = new MessageBuffer();
  takePreamble(buffer, 10);
  assertEquals(buffer.append(10, makeBody(MAX_JOINED_BYTES - 9)), null);
});

Deno.test("the first write of a large body fills the buffer behind the preamble", () => {
  const buffer = new MessageBuffer();
  takePreamble(buffer, 10);
  const start = buffer.fill(10, makeBody(2 * MAX_JOINED_BYTES));
  assertEquals(start.length, 1024);
  assert(start.every((byte, i) => byte === (i < 10 ? 1 : 2)));
});

Deno.test("the buffer grows with a message, and shrinks with the second smaller one", () => {
  const buffer = new MessageBuffer();
  const preambles = [
    [100, 1024],
    [1024, 1024],
    [1025, 4096],
    [16384, 16384],
    [100, 16384],
    [4096, 4096],
    [1025, 4096],
    [1025, 4096],
    [1024, 4096],
    [1, 1024],
  ] as const;
  for (const [length, capacity] of preambles) {
    takePreamble(buffer, length);
    const { buffer: memory, length: viewLength } = buffer.view(length);
    assertEquals([viewLength, memory.byteLength], [length, capacity], `${length}`);
  }
  // A body counts as a part of the message.
  for (const bodyBytes of [16383, 5000]) {
    buffer.append(1, makeBody(bodyBytes));
    takePreamble(buffer, 1);
    assertEquals(buffer.view(1).buffer.byteLength, 16384, `${bodyBytes}`);
  }
});

Deno.test("messages of the same length have the same view, and no message has the view of an older buffer", () => {
  const buffer = new MessageBuffer();
  takePreamble(buffer, 10);
  const view = buffer.view(10);
  takePreamble(buffer, 10);
  assertStrictEquals(buffer.view(10), view);
  takePreamble(buffer, 5000);
  takePreamble(buffer, 10);
  assertEquals(buffer.view(10), view);
  assert(buffer.view(10) !== view);
  assertEquals(buffer.view(11).length, 11);
});

Deno.test("a getter that makes another request while headers are formatted gets another buffer", () => {
  const outer = borrowPreambleBuffer();
  const inner = borrowPreambleBuffer();
  assert(inner !== outer);
  new MessageBuffer().take(inner, 1);
  new MessageBuffer().take(outer, 1);
  assertStrictEquals(borrowPreambleBuffer(), outer);
});
