/**
 * The tables of allowed bytes as they are visible from outside: for every region of a message, the bytes
 * that are read and the characters that are sent, compared with the lists of RFC 9110 and RFC 9112, reduced
 * to what this library supports.
 */

import { assert, assertEquals } from "@std/assert";
import { buildUri } from "@degu/degu/base";
import {
  formatChunk,
  formatHeaders,
  formatRequest,
  formatResponse,
  parseChunkHeader,
  parseHeaders,
  parseRequest,
  parseResponse,
  parseUri,
} from "@degu/degu/misc";
import { assertCallerError, parsedOrNull } from "@degu/testing/expectations.ts";
import { allowedBytes, latin1 } from "@degu/testing/wire_grammar.ts";

const allBytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const noData = new Uint8Array(0);

/** How each region is read and sent when it consists of the given text between harmless ones. */
const regions: {
  name: string;
  allowed: string;
  parse: (text: string) => unknown;
  format: (text: string) => Uint8Array | string;
}[] = [
  {
    name: "header value",
    allowed: allowedBytes.headerValue,
    parse: (text) => parseHeaders(latin1(`a: ${text}`)),
    format: (text) => formatHeaders({ a: text }),
  },
  {
    name: "path component",
    // The separators are no part of a component: a slash begins another one, a question mark the query.
    allowed: allowedBytes.path,
    parse: (text) => parseUri(`/${text}`).path[0] === text || parseUri("//"),
    format: (text) => buildUri([text], null),
  },
  {
    name: "query",
    allowed: allowedBytes.query,
    parse: (text) => parseUri(`/?${text}`),
    format: (text) => buildUri([], text),
  },
  {
    name: "URI of a request",
    allowed: allowedBytes.path + "/?",
    parse: (text) => parseRequest(latin1(`GET /m${text} HTTP/1.1`)),
    format: (text) => formatRequest("GET", `/m${text}`, {}),
  },
  {
    name: "reason",
    allowed: allowedBytes.reason,
    parse: (text) => parseResponse("GET", latin1(`HTTP/1.1 200 ${text}a`)),
    format: (text) => formatResponse(200, `${text}a`, {}),
  },
  {
    name: "chunk extension key",
    allowed: allowedBytes.extensionKey,
    // Two equal signs in a row are never right, so that this one can't end the key.
    parse: (text) => parseChunkHeader(latin1(`5;k${text}=v`)),
    format: (text) => formatChunk([[text, "v"], noData]),
  },
  {
    name: "chunk extension value",
    allowed: allowedBytes.extensionValue,
    parse: (text) => parseChunkHeader(latin1(`5;k=${text}`)),
    format: (text) => formatChunk([["k", text], noData]),
  },
];

function isSent(format: () => unknown): boolean {
  try {
    format();
    return true;
  } catch (error) {
    assertCallerError(() => {
      throw error;
    }, "sending");
    return false;
  }
}

Deno.test("each region is read with its allowed bytes and no others", async (t) => {
  for (const { name, allowed, parse } of regions) {
    await t.step(name, () => {
      const read = allBytes.filter((byte) => parsedOrNull(() => parse(byte), name) !== null);
      assertEquals(read.join(""), [...allowed].toSorted().join(""));
    });
  }
  await t.step("header name", () => {
    const read = allBytes.filter((byte) =>
      parsedOrNull(() => parseHeaders(latin1(`${byte}: a`)), "name") !== null
    );
    assertEquals(read.join(""), [...allowedBytes.headerName].toSorted().join(""));
  });
  await t.step("chunk size", () => {
    const read = allBytes.filter((byte) =>
      parsedOrNull(() => parseChunkHeader(latin1(`1${byte}`)), "size") !== null
    );
    assertEquals(read.join(""), "0123456789ABCDEFabcdef");
  });
});

Deno.test("each region is sent with its allowed bytes and no others", async (t) => {
  for (const { name, allowed, format } of regions) {
    await t.step(name, () => {
      const sent = allBytes.filter((byte) => isSent(() => format(byte)));
      assertEquals(sent.join(""), [...allowed].toSorted().join(""));
    });
  }
  await t.step("header name, in lower case only", () => {
    const sent = allBytes.filter((byte) => isSent(() => formatHeaders({ [byte]: "a" })));
    assertEquals(sent.join(""), "-0123456789abcdefghijklmnopqrstuvwxyz");
  });
});

Deno.test("no region is sent with a character beyond Latin-1", async (t) => {
  // Each low byte once, in blocks where masks and case foldings are likely to err, and some of the rest.
  const units = [
    ...Array.from({ length: 0x100 }, (_, i) => i + 0x100),
    ...Array.from({ length: 0x100 }, (_, i) => i + 0x2000),
    ...Array.from({ length: 0x100 }, (_, i) => i + 0xff00),
    ...[0x212a, 0x212b, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xfeff],
  ];
  for (const { name, format } of regions) {
    await t.step(name, () => {
      const sent = units.filter((unit) => isSent(() => format(String.fromCharCode(unit))));
      assertEquals(sent, []);
    });
  }
  await t.step("header name", () => {
    const sent = units.filter((unit) =>
      isSent(() => formatHeaders({ [String.fromCharCode(unit)]: "a" }))
    );
    assertEquals(sent, []);
  });
});

Deno.test("only upper-case letters in a header name are converted, to lower case", () => {
  for (const byte of allowedBytes.headerName) {
    const [name = ""] = Object.keys(parseHeaders(latin1(`${byte}: a`)));
    const isUpper = byte >= "A" && byte <= "Z";
    assertEquals(name, isUpper ? String.fromCharCode(byte.charCodeAt(0) + 32) : byte);
  }
});

Deno.test("no region allows a byte that is allowed nowhere", () => {
  const nowhere = allBytes.filter((byte) =>
    byte < " " || byte > "~" || "!#$@\\^`{|}".includes(byte)
  );
  for (const { name, parse, format } of regions) {
    for (const byte of nowhere) {
      assert(parsedOrNull(() => parse(byte), name) === null, `${name} reads ${byte.charCodeAt(0)}`);
      assert(!isSent(() => format(byte)), `${name} sends ${byte.charCodeAt(0)}`);
    }
  }
});
