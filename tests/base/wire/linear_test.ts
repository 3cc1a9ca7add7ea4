/** The time of readers of messages: the rarer forms, which aren't read in the fastest way. */
import { ChunkedBody, ContentRange } from "@degu/degu/base";
import {
  formatRequest,
  parseChunkHeader,
  parseContentRange,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "../messages.ts";
import { Connection } from "@degu/degu/client";
import { cutBytes } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertInstanceOf } from "@std/assert";
import { checkLinear, PREAMBLE, type Target } from "../../fuzz/check_linear.ts";
import { AnsweringSocket, MemoryServer, MemorySocket } from "../../fuzz/memory.ts";
import { HEADER_TARGETS } from "../../fuzz/header_targets.ts";

type Row = readonly [name: string, target: Target, prefix: string, part: string, suffix: string];

/** The length of 10,000 chunks of 24 characters. */
const CHUNKS = 240_000;
const CHUNK_HEADER = 4090;

const GET = "GET / HTTP/1.1\r\n", OK = "HTTP/1.1 200 OK\r\n";

function makeTarget(longLength: number, read: (bytes: Uint8Array) => unknown): Target {
  return {
    longLength,
    make: (text) => {
      const bytes = encodeLatin1(text);
      return () => read(bytes);
    },
  };
}

function makeTextTarget(read: (text: string) => unknown): Target {
  return { longLength: PREAMBLE, make: (text) => () => read(text) };
}

const request = makeTarget(PREAMBLE, parseRequest);
const response = makeTarget(PREAMBLE, (bytes) => parseResponse("GET", bytes));
const chunkHeader = makeTarget(CHUNK_HEADER, parseChunkHeader);
const uri = makeTextTarget(parseUri);
const range = makeTextTarget(parseRange);
const contentRange = makeTextTarget(parseContentRange);

/** Collects a chunked body that arrives in pieces of a length, or all at once. */
const makeBodyTarget = (longLength: number, pieceLength?: number) =>
  makeTarget(longLength, async (bytes) => {
    const pieces = pieceLength === undefined ? [bytes] : cutBytes(bytes, pieceLength);
    await new ChunkedBody(new MemorySocket(pieces)).read();
  });

/** Copies a chunked body in the spelling of the library. */
const copiedBody = makeTarget(CHUNKS, async (bytes) => {
  await new ChunkedBody(new MemorySocket([bytes])).writeTo({ write: () => Promise.resolve() });
});

/** Reads the response to a request, and a body that ends with the connection. */
const makeResponseTarget = (pieceLength: number) =>
  makeTarget(PREAMBLE, async (bytes) => {
    const socket = new AnsweringSocket([cutBytes(bytes, pieceLength)]);
    using connection = new Connection(socket, null, undefined, null);
    const { body } = await connection.request("GET", "/", {}, null);
    await body?.read();
  });

/** Formats a request with the headers of a received one. */
const copiedHeaders = makeTarget(PREAMBLE, (bytes) => {
  const { headers } = parseRequest(bytes);
  formatRequest("GET", "/", headers);
});

const LINES: readonly (readonly [name: string, part: string])[] = [
  ["lines of one name", "\r\na: b"],
  ["empty lines of one name", "\r\na:"],
  ["cookies", "\r\ncookie: a=b"],
  ["set-cookie", "\r\nset-cookie: a=b"],
  ["connection", "\r\nconnection: a"],
  ["values above 127", "\r\na: \xe9"],
  ["names of tokens", "\r\n!a_.~: b"],
];

const rows: readonly Row[] = [
  ...LINES.flatMap(([name, part]): Row[] => [
    [`a request with ${name}`, request, GET + "x: y", part, ""],
    [`a response with ${name}`, response, OK + "x: y", part, ""],
    [`copied headers with ${name}`, copiedHeaders, GET + "x: y", part, ""],
  ]),
  ["spaces around a value", request, `${GET}a:`, " \t", "b"],
  ["spaces behind a value, and a control byte", request, `${GET}a: b`, " ", "\0"],
  ["a value of bytes above 127", request, `${GET}a: `, "\xe9\xa0\t", "b"],
  ["zeros of a length", response, `${OK}content-length: `, "0", "5"],
  ["codings", request, `PUT / HTTP/1.1\r\ntransfer-encoding: `, "a, ", "chunked"],
  ["an invalid host", request, `${GET}host: `, "a.", "/"],
  ["escapes of a host", request, `${GET}host: `, "%61", "%"],
  ["digits of a port", request, `${GET}host: a:`, "0", "x"],
  ["a zone", request, `${GET}host: [fe80::1%`, "a", "/]"],
  ["colons of a host", request, `${GET}host: [`, "a:", "]"],
  ["an authority", request, "GET http://", "a", "/ HTTP/1.1"],
  ["a scheme", request, "GET ", "http:", "/ HTTP/1.1"],
  ["components ., and an invalid one", uri, "", "/.", "/.."],
  ["components . between others", uri, "", "/./a", ""],
  ["a reason", response, "HTTP/1.1 200 ", "\t\xe9'", ""],
  ["an invalid reason", response, "HTTP/1.1 200 ", "\t ", "\0"],
  ["several ranges, and an invalid one", range, "bytes=0-0", " , 0-0", "x"],
  ["spaces of ranges of another unit", range, "x=a", " ,\t", " a"],
  ["a unit", range, "", "a", " "],
  ["zeros of a range", range, "bytes=", "0", "1-2"],
  ["a suffix", range, "bytes=-", "0", "x"],
  ["a content range", contentRange, "bytes 0-", "0", "1/2"],
  ["a content range of another unit", contentRange, "x ", "0", "-1/2x"],
  ["a received range", request, `${GET}range: x=a`, ",a", " a"],
  ["a received content range", response, `${OK}content-range: x `, "1-", "/2"],
  ["zeros of a chunk size", chunkHeader, "", "0", "5"],
  ["extensions with spaces", chunkHeader, "5", " ; a = b", " "],
  ["a quoted string without an end", chunkHeader, '5;a="', '\\"', ""],
  ["quoted strings", chunkHeader, "5", ';a="b;c"', "("],
  ["spaces before an extension", chunkHeader, "5", " \t", ";a"],
  ["spaces without an extension", chunkHeader, "5", " \t", ""],
  [
    "10,000 chunks with extensions",
    makeBodyTarget(CHUNKS),
    "",
    '1 ; a="b\\"" ;c = d\r\nx\r\n',
    "0\r\n\r\n",
  ],
  [
    "10,000 copied chunks with extensions",
    copiedBody,
    "",
    '1 ; a="b\\"" ;c = d\r\nx\r\n',
    "0\r\n\r\n",
  ],
  [
    "10,000 copied chunks with one extension",
    copiedBody,
    "",
    "01 ; extension = de\r\nx\r\n",
    "0\r\n\r\n",
  ],
  [
    "chunks with extensions, in pieces",
    makeBodyTarget(PREAMBLE, 3),
    "",
    "1 ; a\r\nx\r\n",
    "0\r\n\r\n",
  ],
  ["trailers", makeBodyTarget(PREAMBLE), "0\r\n", "a: b\r\n", "\r\n"],
  ["trailers, byte by byte", makeBodyTarget(PREAMBLE, 1), "0\r\n", "a: b\r\n", "\r\n"],
  ["one trailer, byte by byte", makeBodyTarget(PREAMBLE, 1), "0\r\na: ", "b \t", "\r\n\r\n"],
  ["a trailer that is cut, byte by byte", makeBodyTarget(PREAMBLE, 1), "0\r\na: ", "b", ""],
  [
    "an interim response, byte by byte",
    makeResponseTarget(1),
    "HTTP/1.1 103 x",
    "\r\na: b",
    `\r\n\r\n${OK}\r\n`,
  ],
  ["an unframed body, byte by byte", makeResponseTarget(1), `${OK}\r\n`, "x", ""],
  ["an unframed body of lines", makeResponseTarget(1000), `${OK}\r\n`, "\r\n\r\n", ""],
];

Deno.test("the time of each reader grows linearly with the rarer forms of a message", async (t) => {
  await testEachRow(t, rows, async (_name, target, prefix, part, suffix) => {
    await checkLinear(target, prefix, part, suffix);
  });
});

Deno.test("128 lines of one name are one value", () => {
  const lines = Array.from({ length: 128 }, (_, i) => `\r\na: ${i % 10}`).join("");
  const { headers } = parseRequest(encodeLatin1(`GET / HTTP/1.1${lines}`));
  assertEquals(headers.a, Array.from({ length: 128 }, (_, i) => i % 10).join(", "));
});

Deno.test("10,000 chunks with extensions are one body", async () => {
  const chunk = '001 ; a ; b = "\\"c\\"" ; d=e\r\nx\r\n';
  const encoded = encodeLatin1(`${chunk.repeat(10_000)}0\r\na: b\r\n\r\n`);
  assertEquals(await new ChunkedBody(new MemorySocket([encoded])).text(), "x".repeat(10_000));
});

Deno.test("a server reads the rarer forms of a request in linear time", async (t) => {
  const server = new MemoryServer(async ({ body }) => {
    await body?.cancel();
    return [200, "OK", {}, null];
  });
  const end = "\r\n\r\n";
  const inputs: readonly (readonly [name: string, prefix: string, part: string, suffix: string])[] =
    [
      ["lines of one name", `${GET}x: y`, "\r\na: b", end],
      ["components .", "GET /a", "/.", ` HTTP/1.1${end}`],
      ["requests with an empty line before them", "", `\r\nGET / HTTP/1.1${end}`, ""],
      ["ranges of another unit", `${GET}range: x=a`, ",a", end],
    ];
  await testEachRow(t, inputs, async (_name, prefix, part, suffix) => {
    for (const pieceLength of [1, 4000]) {
      const serve = (bytes: Uint8Array) =>
        server.connect(new MemorySocket(cutBytes(bytes, pieceLength)));
      await checkLinear(makeTarget(PREAMBLE, serve), prefix, part, suffix);
    }
  });
  await server.end();
});

Deno.test("a content range of 30,000 zeros is read", () => {
  const read = parseContentRange(`bytes ${"0".repeat(30_000)}1-2/*`);
  assertInstanceOf(read, ContentRange);
  assertEquals([read.start, read.stop, read.total], [1, 3, null]);
});

// The time of functions that copy or convert headers.

Deno.test("the time of each copy of headers, and of each bridge to fetch, grows linearly with the number of headers and of options of connection", async (t) => {
  for (const [name, target] of HEADER_TARGETS) {
    await t.step(name, async () => {
      await checkLinear(target, "", "a,", "");
      await checkLinear(target, "x-", "1", ",x-1");
    });
  }
});
