/** How the bytes of data in a message are counted, however the socket accepts them. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SentBytes } from "@degu/internal/net/exchange_watch.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** Counts a message that goes out in pieces of these sizes. */
function count(
  message: Uint8Array,
  preamble: number,
  framing: number | "chunked",
  sizes: number[],
) {
  const sent = new SentBytes(preamble, framing);
  let at = 0;
  for (const size of [...sizes, message.length]) {
    const piece = message.subarray(at);
    const taken = Math.min(size, piece.length);
    sent.add(piece, taken);
    at += taken;
  }
  return sent.data;
}

Deno.test("data is counted without the preamble and the chunk lines, in pieces of any size", () => {
  const chunk = fc.tuple(fc.string({ unit: "binary-ascii", maxLength: 40 }), fc.boolean());
  fc.assert(fc.property(
    fc.array(chunk),
    fc.array(fc.nat(9)),
    fc.nat(30),
    (chunks, sizes, preamble) => {
      const data = chunks.map(([text]) => text).filter((text) => text !== "");
      const lines = chunks.filter(([text]) => text !== "").map(([text, extended]) =>
        `${text.length.toString(16)}${extended ? ";key=a1" : ""}\r\n${text}\r\n`
      );
      const head = "p".repeat(preamble);
      const total = data.join("").length;
      const chunked = encode(`${head}${lines.join("")}0\r\n\r\n`);
      assertEquals(count(chunked, preamble, "chunked", sizes), total);
      assertEquals(count(encode(head + data.join("")), preamble, total, sizes), total);
    },
  ));
});

Deno.test("the first and the last byte are recorded after the socket has accepted them", () => {
  const sent = new SentBytes(3, 2);
  sent.add(encode("abcde"), 0);
  assertEquals([sent.firstByteAt, sent.lastByteAt], [null, null]);
  sent.add(encode("abcde"), 4);
  const { firstByteAt, lastByteAt, data } = sent;
  assertEquals([typeof firstByteAt, lastByteAt, data], ["number", firstByteAt, 1]);
  while (performance.now() === firstByteAt);
  sent.add(encode("e"), 1);
  assertEquals([sent.firstByteAt, sent.data], [firstByteAt, 2]);
  assert(sent.lastByteAt! > firstByteAt!);
});
