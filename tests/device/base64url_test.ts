/** Bytes as text, with exactly one text for each value. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { decodeBase64Url, encodeBase64Url } from "@degu/internal/device/invitation_line.ts";

Deno.test("encodeBase64Url writes RFC 4648 §5 without padding", () => {
  const rows: [bytes: number[], text: string][] = [
    [[], ""],
    [[0], "AA"],
    [[0, 0], "AAA"],
    [[0, 0, 0], "AAAA"],
    [[0xfb, 0xff, 0xfe], "-__-"],
    [[0x66, 0x6f, 0x6f, 0x62], "Zm9vYg"],
  ];
  for (const [bytes, text] of rows) {
    assertEquals(encodeBase64Url(new Uint8Array(bytes)), text);
    assertEquals(decodeBase64Url(text), new Uint8Array(bytes));
  }
});

Deno.test("decodeBase64Url reads what encodeBase64Url writes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    assertEquals(decodeBase64Url(encodeBase64Url(bytes)), bytes);
  }));
});

Deno.test("decodeBase64Url rejects a second text for the same bytes, and invalid text", () => {
  const table = [
    "AA==",
    "A A",
    "AA\n",
    " AA",
    "AB",
    "AAB",
    "A",
    "+__-",
    "-/_-",
    "AA.",
    "Ä",
    "=",
    " ",
  ];
  for (const text of table) assertEquals(decodeBase64Url(text), null, JSON.stringify(text));
});

Deno.test("no two texts decode to the same bytes", () => {
  const text = fc.string({ unit: fc.constantFrom(..."AB-_+/= \nz"), maxLength: 8 });
  fc.assert(fc.property(text, (text) => {
    const bytes = decodeBase64Url(text);
    if (bytes !== null) assertEquals(encodeBase64Url(bytes), text);
  }));
});
