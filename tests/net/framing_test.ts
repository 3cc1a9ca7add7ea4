/** Bytes of one message are never read as part of another message. */
import { assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
} from "@degu/degu/base";
import { streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const hello = encodeLatin1("hello");
const CHUNK = "5\r\nhello\r\n";
const LAST = "0\r\n\r\n";
const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n";
const makeFailingStream = () =>
  new TrackedStream([encodeLatin1("he")], { failure: new Error("no") });
const makeChunkedBody = (bytes: string) => new ChunkedBody(streamOf(encodeLatin1(bytes)));

/** The allowed output for a body that breaks its framing: no bytes, or its first bytes. */
const [noBytes, chunk] = [/^$/, /^(5\r\nhello\r\n)?$/];

/** Bodies that break their framing after the preamble could be sent, and the allowed output. */
const brokenBodies: readonly (readonly [label: string, make: () => BodyOut, sent: RegExp])[] = [
  ["a stream that is too short", () => new Body(streamOf(encodeLatin1("hell")), 5), /^(hell)?$/],
  ["a stream that is too long", () => new Body(streamOf(hello, encodeLatin1("!")), 5), noBytes],
  ["an item that is too long", () => new Body(streamOf(encodeLatin1("hello!")), 5), noBytes],
  ["a stream that fails", () => new Body(makeFailingStream().stream, 5), /^(he)?$/],
  ["an iterable that is too short", () => new BodyIter([encodeLatin1("hell")], 5), /^(hell)?$/],
  ["an iterable that is too long", () => new BodyIter([hello, encodeLatin1("!")], 5), noBytes],
  [
    "a last item that is too long",
    () => new BodyIter([encodeLatin1("hell"), encodeLatin1("o!")], 5),
    /^(hell)?$/,
  ],
  ["an iterable that fails", () => new BodyIter(makeFailingStream().stream, 5), /^(he)?$/],
  ["chunks without a last chunk", () => new ChunkedBodyIter([[null, hello]]), chunk],
  [
    "a chunk after the last chunk",
    () => new ChunkedBodyIter([[null, encodeLatin1("")], [null, hello]]),
    noBytes,
  ],
  ["encoded chunks without a last chunk", () => makeChunkedBody(CHUNK), chunk],
  ["an encoded chunk that is cut", () => makeChunkedBody("5\r\nhe"), /^(5\r\nhe)?$/],
  [
    "bytes after encoded chunks",
    () => makeChunkedBody(`${CHUNK}${LAST}GET / HTTP/1.1\r\n\r\n`),
    chunk,
  ],
  ["bytes that are not encoded chunks", () => makeChunkedBody("hello"), noBytes],
];

/** Returns the bytes of the body in a message. */
const getBodyBytes = (message: string) =>
  message.replace(/^(PUT \/ HTTP\/1\.1|HTTP\/1\.1 200 OK)\r\n[^\r]*\r\n\r\n/, "");

Deno.test("a body that breaks its framing is cut, and the connection closes", async (t) => {
  for (const [label, make, sent] of brokenBodies) {
    await t.step(`server: ${label}`, async () => {
      const requests = "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
      await using pair = await connectRawPeer(() => [200, "OK", {}, make()], requests);
      await pair.peer.closeWrite();
      const { received } = await pair.peer.readToEnd();
      assertMatch(getBodyBytes(received), sent);
      assertEquals((await pair.logger.waitFor("error")).length, 1);
    });
    await t.step(`client: ${label}`, async () => {
      using pair = await connect({ timeout: 1 });
      await assertRejects(() => pair.conn.put("/", {}, make()));
      assertEquals(pair.conn.closed, true);
      assertMatch(getBodyBytes((await pair.peer.readToEnd()).received), sent);
    });
  }
});

Deno.test("client connection: bytes that arrive before a request is sent are never its response", async (t) => {
  const forgedBytes = encodeLatin1(FORGED);
  const responses = {
    "before the first request": null,
    "between two requests": "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "between the response and the reading of its body":
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
  };
  await testEachRow(t, Object.entries(responses), async (_when, responseText) => {
    using pair = await connect();
    const response = responseText === null ? null : await pair.answer(responseText);
    const sending = await pair.peer.conn.write(forgedBytes);
    await waitForTick();
    await response?.body?.text();
    await assertProtocolRejection(pair.conn.get("/"), ["EXCESS_BYTES"], "the next request");
    assertEquals([sending, pair.conn.closed], [forgedBytes.length, true]);
  });
});

Deno.test("client connection: closing the connection during the check for early bytes ends the request, which is not sent", async () => {
  using pair = await connect();
  const responding = catchRejection(pair.conn.get("/"), "a request on a closed connection");
  await null;
  pair.conn.close();
  assertInstanceOf(await responding, ConnectionClosedError);
  await pair.peer.assertClosedSilently();
});
