/** Which bytes make an exchange, and that its counts are exact. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import fc from "fast-check";
import { ProxyApp } from "@degu/degu";
import { BodyIter, type Chunk, ChunkedBodyIter, ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { watch } from "@degu/testing/seen_exchanges.ts";
import { smugglingCorpus } from "@degu/testing/smuggling_corpus.ts";

const drain: App = async (request) => {
  await request.body?.writeTo(new WritableStream());
  return [200, "OK", {}, null];
};

Deno.test("only a request with a valid preamble is an exchange", async () => {
  const { serving, next, seen } = watch(drain);
  await using _ = serving;
  for (const { name, bytes, accepted, broken } of smugglingCorpus) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(bytes).catch(() => {});
    await peer.closeWrite().catch(() => {});
    await peer.readToEnd();
    for (const { uri } of accepted) {
      const exchange = await next();
      assertEquals([exchange.uri, exchange.status, exchange.error], [uri, 200, null], name);
    }
    if (broken !== undefined) {
      const { uri, status, error } = await next();
      assertEquals([uri, status], [broken, null], name);
      assertInstanceOf(error, ProtocolError, name);
    }
    assertEquals(seen, [], name);
  }
});

Deno.test("requests after the last one that is answered are not exchanges", async () => {
  const refuse: App = ({ uri }) =>
    uri === "/no" ? [403, "Forbidden", {}, null] : [200, "OK", {}, null];
  const { serving, next, seen } = watch(refuse);
  await using _ = serving;
  using peer = await RawPeer.connect(serving.address);
  const request = (uri: string) => `GET ${uri} HTTP/1.1\r\n\r\n`;
  await peer.send(request("/yes") + request("/no") + request("/late"));
  await peer.readToEnd();
  assertEquals([(await next()).uri, (await next()).uri], ["/yes", "/no"]);
  assertEquals(seen, []);
});

/** Chunks of which some have an extension; the last one is empty. */
const chunks = fc.array(fc.tuple(fc.integer({ min: 1, max: 300 }), fc.boolean()), { maxLength: 8 })
  .map((sizes): Chunk[] => [
    ...sizes.map(([size, extended]): Chunk => [
      extended ? ["size", String(size)] : null,
      new Uint8Array(size),
    ]),
    [null, new Uint8Array()],
  ]);

/** The chunks as they are sent. */
function encode(sent: readonly Chunk[]): string {
  return sent.map(([extension, data]) => {
    const suffix = extension === null ? "" : `;${extension.join("=")}`;
    return `${data.length.toString(16)}${suffix}\r\n${"\0".repeat(data.length)}\r\n`;
  }).join("");
}

const sizeOf = (sent: readonly Chunk[]) => sent.reduce((sum, [, data]) => sum + data.length, 0);

Deno.test("an upload that is cut anywhere counts the bytes of data that had arrived", async () => {
  const { serving, next } = watch(drain);
  await using _ = serving;
  const cut = fc.double({ min: 0, max: 1, noNaN: true });
  await fc.assert(
    fc.asyncProperty(chunks, cut, fc.boolean(), async (sent, part, chunked) => {
      const size = sizeOf(sent);
      const body = chunked ? encode(sent) : "\0".repeat(size);
      const framing = chunked ? "transfer-encoding: chunked" : `content-length: ${size}`;
      const arrived = body.slice(0, Math.round(part * body.length));
      using peer = await RawPeer.connect(serving.address);
      await peer.send(`PUT / HTTP/1.1\r\n${framing}\r\n\r\n`, arrived);
      await peer.closeWrite();
      await peer.readToEnd();
      const { requestBytes, status } = await next();
      // The data is NUL bytes, which no line has.
      assertEquals(requestBytes, arrived.split("\0").length - 1);
      assertEquals(status, arrived === body ? 200 : null);
    }),
    { numRuns: 60 },
  );
});

Deno.test("a download counts the bytes of data that the peer receives", async () => {
  let answer: Chunk[] = [];
  let chunked = false;
  const { serving, next } = watch(() => {
    const data = answer.map(([, each]) => each).slice(0, -1);
    const body = chunked ? new ChunkedBodyIter(answer) : new BodyIter(data, sizeOf(answer));
    return [200, "OK", { connection: "close" }, body];
  });
  await using _ = serving;
  await fc.assert(
    fc.asyncProperty(chunks, fc.boolean(), async (sent, isChunked) => {
      [answer, chunked] = [sent, isChunked];
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\n");
      const { received } = await peer.readToEnd();
      const { responseBytes, error } = await next();
      assertEquals([responseBytes, error], [received.split("\0").length - 1, null]);
      assertEquals(responseBytes, sizeOf(sent));
    }),
    { numRuns: 60 },
  );
});

Deno.test("a proxy reports an upstream that is unreachable, or disconnects midway", async () => {
  const upstream = new RawServer();
  const logger = { warn: () => {} };
  const { serving, next } = watch(new ProxyApp(new Client(upstream.address), "conn", { logger }));
  await using _ = serving;
  using stack = new DisposableStack();
  stack.use(upstream);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET /cut HTTP/1.1\r\n\r\n");
  const relayed = await upstream.accept();
  await relayed.readPreamble();
  await relayed.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
  relayed.close();
  await peer.readToEnd();
  const cut = await next();
  assertEquals([cut.status, cut.responseBytes], [200, 5]);
  assert(cut.error instanceof Error);

  using late = await RawPeer.connect(serving.address);
  stack.dispose();
  await late.send("GET /gone HTTP/1.1\r\n\r\n");
  await late.readToEnd();
  const gone = await next();
  assertEquals([gone.status, gone.error], [502, null]);
});

Deno.test("the next request waits only while onExchange runs", async () => {
  const order: string[] = [];
  const app: App = ({ uri }) => {
    order.push(`request ${uri}`);
    return [200, "OK", {}, null];
  };
  const { serving } = watch(app, {
    onExchange: async ({ uri }) => {
      order.push(`exchange ${uri}`);
      await new Promise<never>(() => {});
    },
  });
  await using _ = serving;
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  await peer.readPreamble();
  await peer.readPreamble();
  await peer.send("GET /3 HTTP/1.1\r\n\r\n");
  await peer.readPreamble();
  assertEquals(
    order.slice(0, 5),
    [1, 2, 3].flatMap((n) => [`request /${n}`, `exchange /${n}`]).slice(0, 5),
  );
});
