/** Encoding and decoding DER. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concatenate } from "@degu/internal/internal/bytes.ts";
import {
  decodeString,
  decodeTime,
  DerReader,
  encodeDer,
  encodeObjectIdentifier,
  formatObjectIdentifier,
  readDer,
  TAG,
} from "@degu/internal/net/tls/der.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/**
 * Encodes an element whose length has this many bytes after its first byte; 0 is the short form.
 */
function encodeElement(
  tag: number,
  content: Uint8Array,
  lengthBytes = countLengthBytes(content),
): Uint8Array {
  const length = [];
  for (let i = lengthBytes - 1; i >= 0; i--) length.push((content.length / 256 ** i) & 0xff);
  const head = lengthBytes === 0 ? [content.length] : [0x80 | lengthBytes, ...length];
  return Uint8Array.from([tag, ...head, ...content]);
}

/** Returns the number of bytes after the first byte of the length in DER. */
function countLengthBytes({ length }: Uint8Array): number {
  return length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
}

const tags = fc.integer({ min: 0, max: 0xff }).filter((tag) => (tag & 0x1f) !== 0x1f);

Deno.test("a length with more bytes than necessary is refused", () => {
  for (const length of [0, 1, 127, 128, 255, 256, 65535, 65536]) {
    const content = new Uint8Array(length);
    const minLengthBytes = countLengthBytes(content);
    assertEquals(new DerReader(encodeElement(4, content, minLengthBytes)).readContent(4), content);
    for (let lengthBytes = minLengthBytes + 1; lengthBytes <= 4; lengthBytes++) {
      const bytes = encodeElement(4, content, lengthBytes);
      assertThrows(
        () => new DerReader(bytes).readElement(),
        RangeError,
        "fewer bytes",
        `${length} ${lengthBytes}`,
      );
    }
  }
});

Deno.test("a truncated element is a RangeError, and is never read past its end", () => {
  const encoded = encodeElement(TAG.octetString, new Uint8Array(300).fill(7), 2);
  for (let length = 0; length < encoded.length; length++) {
    assertThrows(
      () => new DerReader(encoded.slice(0, length)).readElement(),
      RangeError,
      "",
      `${length}`,
    );
    // The bytes after the view in the same buffer are not part of it.
    assertThrows(() => new DerReader(encoded.subarray(0, length)).readElement(), RangeError);
  }
});

Deno.test("an indefinite length, a length of more than four bytes, and a long tag are refused", () => {
  const invalidElements = [
    [0x30, 0x80, 0, 0],
    [0x30, 0x85, 0, 0, 0, 0, 0],
    [0x30, 0xff],
    [0x1f, 0x01, 0],
    [0x3f, 0x81, 0x01, 0],
  ];
  for (const bytes of invalidElements) {
    assertThrows(() => new DerReader(Uint8Array.from(bytes)).readElement(), RangeError);
  }
  const huge = Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff);
  assertThrows(() => new DerReader(huge).readElement(), RangeError);
});

/** The contents of elements with a value, and of elements that are invalid in DER. */
const CONTENTS: Readonly<
  Record<string, {
    tag: number;
    read: (reader: DerReader) => unknown;
    valid: readonly (readonly [hex: string, value: unknown])[];
    invalid: readonly string[];
  }>
> = {
  "a boolean": {
    tag: TAG.boolean,
    read: (reader) => reader.readBoolean(),
    valid: [["00", false], ["ff", true]],
    invalid: ["", "01", "fe", "0000", "ffff", "00ff"],
  },
  "an integer": {
    tag: TAG.integer,
    read: (reader) => reader.readInteger().toHex(),
    valid: ["00", "7f", "80", "ff", "0080", "00ff", "ff7f", "8000"].map((hex) => [hex, hex]),
    invalid: ["", "0000", "0001", "007f", "ff80", "ffff", "000080"],
  },
  "a number": {
    tag: TAG.integer,
    read: (reader) => reader.readNatural(),
    valid: [["00", 0], ["7f", 127], ["0080", 128], ["010000", 65536]],
    invalid: ["", "80", "ff", "ff7f", "0001"],
  },
  "a bit string": {
    tag: TAG.bitString,
    read: (reader) => reader.readBitString().toHex(),
    valid: [["00", ""], ["00ff", "ff"], ["0780", "80"], ["0700", "00"], ["0106", "06"]],
    invalid: ["", "01", "07", "08ff", "0800", "0107", "07c0", "ff00"],
  },
  "a bit string of whole bytes": {
    tag: TAG.bitString,
    read: (reader) => reader.readBitString(0).toHex(),
    valid: [["00", ""], ["00ff80", "ff80"]],
    invalid: ["", "0180", "0100", "01"],
  },
};

for (const [label, { tag, read, valid, invalid }] of Object.entries(CONTENTS)) {
  Deno.test(`${label} has one form for each value, and other forms are refused`, () => {
    for (const [hex, value] of valid) {
      assertEquals(readDer(encodeDer(tag, Uint8Array.fromHex(hex)), read), value, hex);
    }
    for (const hex of invalid) {
      const bytes = encodeDer(tag, Uint8Array.fromHex(hex));
      assertThrows(() => readDer(bytes, read), RangeError, "DER: ", hex);
    }
    const [[hex] = [""]] = valid;
    const otherTag = encodeDer(TAG.octetString, Uint8Array.fromHex(hex));
    assertThrows(() => readDer(otherTag, read), RangeError, "expected an element");
  });
}

Deno.test("no bytes may follow the parsed part of an element", () => {
  const integer = encodeDer(TAG.integer, Uint8Array.of(1));
  const twoIntegers = concatenate([integer, integer]);
  const read = (reader: DerReader) => reader.readNatural();
  assertEquals(readDer(integer, read), 1);
  assertEquals(
    readDer(encodeDer(TAG.sequence, integer), (reader) => reader.readNested(TAG.sequence, read)),
    1,
  );
  const excessRows = [twoIntegers, concatenate([integer, Uint8Array.of(0)])];
  for (const bytes of excessRows) {
    assertThrows(() => readDer(bytes, read), RangeError, "unexpected bytes follow");
    const sequence = encodeDer(TAG.sequence, bytes);
    const readSequence = (reader: DerReader) => reader.readNested(TAG.sequence, read);
    assertThrows(() => readDer(sequence, readSequence), RangeError, "unexpected bytes follow");
  }
});

Deno.test("an object identifier that is empty, or ends inside a number, is refused", () => {
  for (const bytes of [[], [0x80], [0x55, 0x1d, 0x13, 0x81], [0x2b, 0x86, 0x80]]) {
    assertThrows(() => formatObjectIdentifier(Uint8Array.from(bytes)), RangeError, "DER: ");
  }
});

Deno.test("a padded object identifier is refused, because its encoding is not unique", () => {
  for (const bytes of [[0x80, 0x2b], [0x2b, 0x80, 0x06], [0x2b, 6, 0x80, 0x80, 1]]) {
    assertThrows(() => formatObjectIdentifier(Uint8Array.from(bytes)), RangeError, "padded");
  }
});

Deno.test("a string of any type is decoded, with U+FFFD for invalid parts", () => {
  const utf16 = Uint8Array.of(0, 0x61, 0x20, 0xac, 0xd8, 0x3d, 0xde, 0x00);
  const rows: [number, Uint8Array, string][] = [
    [TAG.utf8String, new TextEncoder().encode("\ufeffa€😀"), "\ufeffa€😀"],
    [TAG.utf8String, Uint8Array.of(0x61, 0xff), "a\ufffd"],
    [TAG.bmpString, utf16, "a€😀"],
    [TAG.bmpString, Uint8Array.of(0xd8, 0x3d), "\ufffd"],
    [0x13, encodeLatin1("printable"), "printable"],
    [0x14, Uint8Array.of(0xe4), "ä"],
  ];
  for (const [tag, content, text] of rows) assertEquals(decodeString({ tag, content }), text);
});

Deno.test("a time is decoded from the two forms used in certificates (RFC 5280 §4.1.2.5)", () => {
  const rows: [number, string, string][] = [
    [TAG.utcTime, "491231235959Z", "2049-12-31T23:59:59.000Z"],
    [TAG.utcTime, "500101000000Z", "1950-01-01T00:00:00.000Z"],
    [TAG.generalizedTime, "20500101000000Z", "2050-01-01T00:00:00.000Z"],
    [TAG.generalizedTime, "99991231235959Z", "9999-12-31T23:59:59.000Z"],
    [TAG.generalizedTime, "00010203040506Z", "0001-02-03T04:05:06.000Z"],
  ];
  for (const [tag, text, time] of rows) {
    assertEquals(decodeTime({ tag, content: encodeLatin1(text) }).toISOString(), time);
  }
  const invalidTimes = [
    "",
    "491231235959",
    "4912312359Z",
    "491231235959+0100",
    "20500101000000.5Z",
  ];
  for (const text of invalidTimes) {
    for (const tag of [TAG.utcTime, TAG.generalizedTime, TAG.integer]) {
      assertThrows(() => decodeTime({ tag, content: encodeLatin1(text) }), RangeError, "", text);
    }
  }
  // Dates and times that don't exist.
  const impossible = ["1332256199", "0001000000", "0100000000", "0132000000", "0229000000"];
  for (const digits of [...impossible, "0431000000", "0101240000", "0101006000", "0101000060"]) {
    const content = {
      utc: encodeLatin1(`99${digits}Z`),
      generalized: encodeLatin1(`1999${digits}Z`),
    };
    assertThrows(
      () => decodeTime({ tag: TAG.utcTime, content: content.utc }),
      RangeError,
      "",
      digits,
    );
    const element = { tag: TAG.generalizedTime, content: content.generalized };
    assertThrows(() => decodeTime(element), RangeError, "", digits);
  }
  const leapDay = { tag: TAG.utcTime, content: encodeLatin1("960229000000Z") };
  assertEquals(decodeTime(leapDay).toISOString(), "1996-02-29T00:00:00.000Z");
  // Each form with the tag of the other form.
  for (
    const [tag, text] of [
      [TAG.utcTime, "20500101000000Z"],
      [TAG.generalizedTime, "250101000000Z"],
    ] as const
  ) {
    assertThrows(() => decodeTime({ tag, content: encodeLatin1(text) }), RangeError, "", text);
  }
});

Deno.test("an encoded element has the shortest length, and is parsed unchanged", () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 3 });
  fc.assert(fc.property(tags, pieces, (tag, pieces) => {
    const content = Uint8Array.from(pieces.flatMap((piece) => [...piece]));
    const bytes = encodeDer(tag, ...pieces);
    assertEquals(new DerReader(bytes).readElement(), { tag, content });
    assertEquals(
      bytes.length - content.length,
      2 + +(content.length > 127) + +(content.length > 255),
    );
  }));
});

Deno.test("an element of 127, 128, 129, 255, 256, 257 or 65,535 bytes is encoded and read", () => {
  const rows = [
    [127, "7f"],
    [128, "8180"],
    [129, "8181"],
    [255, "81ff"],
    [256, "820100"],
    [257, "820101"],
    [65535, "82ffff"],
  ] as const;
  for (const [length, digits] of rows) {
    const content = new Uint8Array(length).fill(1);
    const bytes = encodeDer(TAG.octetString, content);
    assertEquals(bytes.subarray(1, -length).toHex(), digits);
    assertEquals(new DerReader(bytes).readContent(TAG.octetString), content);
  }
});

Deno.test("an object identifier is encoded from its text, and formatted to the same text", () => {
  const arcs = fc.array(fc.nat({ max: 2 ** 40 }), { maxLength: 8 });
  fc.assert(fc.property(fc.nat({ max: 1 }), fc.nat({ max: 39 }), arcs, (first, second, rest) => {
    const text = [first, second, ...rest].join(".");
    const bytes = encodeObjectIdentifier(text);
    assertEquals(
      formatObjectIdentifier(new DerReader(bytes).readContent(TAG.objectIdentifier)),
      text,
    );
  }));
  assertEquals(encodeObjectIdentifier("2.5.29.19").toHex(), "0603551d13");
  // Below 2, the second number has no limit.
  assertEquals(formatObjectIdentifier(Uint8Array.of(0x88, 0x37, 3)), "2.999.3");
});
