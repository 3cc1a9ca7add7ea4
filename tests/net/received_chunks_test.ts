/**
 * Chunks that a client and a server read from a socket: sizes, extensions, trailers (RFC 9112
 * §7.1).
 */
import type { Chunk, ChunkedBody, ProtocolErrorCode } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { assertProtocolRejection, formatLabel } from "@degu/testing/expectations.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals } from "@std/assert";

const CODING = "transfer-encoding: chunked\r\n\r\n";

/** Reads a body, and returns its chunks as text. */
async function formatChunks(body: unknown): Promise<string> {
  const chunks: unknown[] = [];
  for await (const [extension, data] of body as ChunkedBody as AsyncIterable<Chunk>) {
    chunks.push([extension, decodeLatin1(data)]);
  }
  return JSON.stringify(chunks);
}

/** Asserts the chunks that a server and a client find in a body, or the code of the error. */
async function assertChunks(coded: string, chunks: unknown, code?: ProtocolErrorCode) {
  await using serving = serve(async ({ body }) => [200, "OK", {}, await formatChunks(body)]);
  const { received } = await exchange(serving.address, `PUT / HTTP/1.1\r\n${CODING}${coded}`);
  const text = JSON.stringify(chunks);
  const responseBytes = `HTTP/1.1 200 OK\r\ncontent-length: ${text?.length}\r\n\r\n${text}`;
  assertEquals(received, code === undefined ? responseBytes : formatErrorResponse(400));

  using pair = await connect();
  const response = await pair.answer(`HTTP/1.1 200 OK\r\n${CODING}${coded}`);
  if (code === undefined) return assertEquals(await formatChunks(response.body), text);
  await assertProtocolRejection(formatChunks(response.body), [code], coded);
  assertEquals(pair.conn.closed, true);
}

Deno.test("a client and a server pass on one extension of a chunk", async (t) => {
  const rows: [coded: string, chunks: unknown][] = [
    ["5\r\nhello\r\n0\r\n\r\n", [[null, "hello"], [null, ""]]],
    ["5;a=b\r\nhello\r\n0;c=d\r\n\r\n", [[["a", "b"], "hello"], [["c", "d"], ""]]],
    ['A;a="b;c"\r\nhellohello\r\n0\r\n\r\n', [[["a", '"b;c"'], "hellohello"], [null, ""]]],
  ];
  for (const [coded, chunks] of rows) {
    await t.step(formatLabel(coded), () => assertChunks(coded, chunks));
  }
});

/** Other extensions that RFC 9112 §7.1.1 allows. */
const OTHER_EXTENSIONS = [
  ...["a", "a;b", "a=b;c=d", " a=b", "a =b", "a= b", "a=b ", 'a="b c"', "a_b=c", "a=b/c"],
].map((extension) => `5;${extension}\r\nhello\r\n0\r\n\r\n`);

Deno.test("a client and a server refuse every other form of a chunk's extensions", async (t) => {
  for (const coded of OTHER_EXTENSIONS) {
    await t.step(formatLabel(coded), () => assertChunks(coded, null, "BAD_CHUNK_EXTENSION"));
  }
});

Deno.test("a client and a server refuse a trailer", async (t) => {
  for (const trailer of ["a: b", "content-length: 5", "transfer-encoding: chunked", " a: b"]) {
    const coded = `5\r\nhello\r\n0\r\n${trailer}\r\n\r\n`;
    await t.step(formatLabel(trailer), () => assertChunks(coded, null, "BAD_CHUNK_END"));
  }
});

Deno.test("a client and a server refuse a chunk size of more than 7 digits or above 16 MiB", async (t) => {
  const rows: [size: string, code: ProtocolErrorCode][] = [
    ["1000001", "CHUNK_TOO_LARGE"],
    ["fffffff", "CHUNK_TOO_LARGE"],
    ["10000005", "BAD_CHUNK_LINE"],
    ["100000005", "BAD_CHUNK_LINE"],
    ["10000000000000005", "BAD_CHUNK_LINE"],
    ["00000000000000005", "BAD_CHUNK_LINE"],
    ["-5", "BAD_CHUNK_LINE"],
  ];
  await testEachRow(t, rows, async (size, code) => {
    await assertChunks(`${size}\r\nhello\r\n0\r\n\r\n`, null, code);
  });
});
