/** A request's body that is unread when it is answered: no byte after it is ever read as a part of it. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { type Body, BodyError, type ChunkedBody } from "@degu/degu/base";
import type { AppFunction } from "@degu/degu/server";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** Answers 413 at once, while somebody still reads the body, or begins to. */
function refusing(read: (body: Body | ChunkedBody) => Promise<unknown>, results: unknown[]) {
  const answered = Promise.withResolvers<void>();
  const app: AppFunction = ({ body }) => {
    if (body === null) return [204, "No Content", {}, null];
    results.push(rejectionOf(read(body), "reading on"));
    answered.resolve();
    return [413, "Content Too Large", {}, null];
  };
  return { app, answered: answered.promise };
}

for (const framing of ["content-length: 400000", "transfer-encoding: chunked"]) {
  const chunked = framing.includes("chunked");
  const start = chunked ? "61a80\r\n" : "";

  Deno.test(`a body that is read while an error is answered fails with a BodyError (${framing})`, async (t) => {
    const ways: Record<string, (body: Body | ChunkedBody) => Promise<unknown>> = {
      "collected": (body) => body.read(),
      "iterated": async (body) => {
        for await (const _ of body);
      },
      "in pieces": async (body) => {
        for (;;) await (body.chunked ? body.readChunk() : body.read(10));
      },
      "as a stream": (body) => new Response(body.readable).bytes(),
    };
    for (const [way, read] of Object.entries(ways)) {
      await t.step(way, async () => {
        const results: Promise<unknown>[] = [];
        const { app } = refusing(read, results);
        await using serving = serve(app);
        using peer = await RawPeer.connect(serving.address);
        await peer.send(`PUT / HTTP/1.1\r\n${framing}\r\n\r\n${start}`);
        assertEquals(await peer.readPreamble(), "HTTP/1.1 413 Content Too Large\r\n\r\n");
        // The server is lingering now, and drops all of this.
        await peer.send(latin1("x".repeat(400_000)), chunked ? "\r\n0\r\n\r\n" : "");
        await peer.closeWrite();
        assertEquals((await peer.readToEnd()).received, "");
        const error = await within(results[0]!, "the read rejects");
        assertInstanceOf(error, BodyError);
        assert(error.message.includes("413"), error.message);
      });
    }
  });
}

Deno.test("a body that is first read after its error was answered is a BodyError", async () => {
  const bodies: Body[] = [];
  await using serving = serve(({ body }) => {
    if (body !== null && !body.chunked) bodies.push(body);
    return [404, "Not Found", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
  await peer.closeWrite();
  await peer.readToEnd();
  const error = await rejectionOf(bodies[0]!.read(), "the read");
  assertInstanceOf(error, BodyError);
  assertInstanceOf(error.cause, BodyError);
});

Deno.test("an empty body that is read late, after a relayed body, does not affect the connection", async () => {
  // The relayed body has made the buffer large; reading the old body at the wrong moment would swap it.
  const late: Body[] = [];
  const uris: string[] = [];
  const waiting = Promise.withResolvers<void>();
  await using serving = serve(async ({ uri, body }) => {
    uris.push(uri);
    if (uri === "/late" && body !== null && !body.chunked) late.push(body);
    if (uri === "/large") {
      await body?.writeTo({ pieceBytes: 1048576, write: () => Promise.resolve() });
      waiting.resolve();
    }
    return [200, "OK", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT /late HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
  await peer.readPreamble();
  const chunk = `100000\r\n${"x".repeat(1048576)}\r\n`;
  await peer.send("PUT /large HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
  await peer.send(latin1(chunk), latin1(chunk), "0\r\n\r\nGET /half HTTP/1.1\r\n");
  await peer.readPreamble();
  await within(waiting.promise, "the large body is over");
  assertEquals((await late[0]!.read()).length, 0);
  await peer.send("\r\n");
  assertEquals(await peer.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
  assertEquals(uris, ["/late", "/large", "/half"]);
});
