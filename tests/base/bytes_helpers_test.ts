/** Helpers over arrays of bytes: comparing, copying, joining and decoding. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  concatenate,
  decodeText,
  EMPTY,
  startsWith,
  writeBytes,
} from "@degu/internal/base/bytes.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const bytes = fc.uint8Array({ maxLength: 20 });

Deno.test("startsWith compares exactly what is at the position", () => {
  fc.assert(fc.property(bytes, bytes, bytes, (before, wanted, after) => {
    const whole = concatenate([before, wanted, after]);
    assertEquals(startsWith(whole, before.length, wanted), true);
    if (wanted.length === 0) return;
    assertEquals(
      startsWith(whole.subarray(0, before.length + wanted.length - 1), before.length, wanted),
      false,
    );
    const other = wanted.map((byte, i) => i === wanted.length - 1 ? byte ^ 1 : byte);
    assertEquals(startsWith(whole, before.length, other), false);
  }));
});

Deno.test("writeBytes copies, returns the next position, and drops what is beyond the end", () => {
  const into = new Uint8Array(5);
  assertEquals(writeBytes(into, 1, latin1("ab")), 3);
  assertEquals(writeBytes(into, 4, latin1("cd")), 6);
  assertEquals([...into], [0, 0x61, 0x62, 0, 0x63]);
});

Deno.test("concatenate joins arrays into a new one", () => {
  fc.assert(fc.property(fc.array(bytes), (pieces) => {
    const whole = concatenate(pieces);
    assertEquals([...whole], pieces.flatMap((piece) => [...piece]));
    assertEquals(pieces.some((piece) => piece.buffer === whole.buffer), false);
  }));
  assertEquals(concatenate([]), EMPTY);
});

Deno.test("decodeText keeps a byte order mark, and refuses invalid UTF-8", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    assertEquals(decodeText(new TextEncoder().encode(text)), text.toWellFormed());
  }));
  assertEquals(decodeText(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])), "\ufeffa");
  for (const wrong of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
    assertThrows(() => decodeText(new Uint8Array(wrong)), TypeError);
  }
});
