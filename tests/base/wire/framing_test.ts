/** The framing of messages: framing.rows.ts with the parser, a client, a server and a proxy. */
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { type Method, ProtocolError, type Response } from "@degu/degu/base";
import { type Address, Client } from "@degu/degu/client";
import type { Request } from "@degu/degu/server";
import {
  determineReceivedFraming,
  parseRequestPreamble,
  parseResponsePreamble,
} from "@degu/internal/base/wire/preamble.ts";
import { assertProtocolError, catchRejection } from "@degu/testing/expectations.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { type FramingRow, type Outcome, requestFraming, responseFraming } from "./framing.rows.ts";

/** Returns the encoded bytes of a body with this framing, and its text. */
const makeBodyBytes = (framing: Outcome): [bytes: string, text: string | null] =>
  framing === "chunked"
    ? ["5\r\nhello\r\n0\r\n\r\n", "hello"]
    : framing === 5
    ? ["hello", "hello"]
    : ["", null];

/** Returns preambles with every order of the lines, and with other lines around them. */
function makePreambles({ method, status, lines }: FramingRow): string[] {
  const first = status === undefined ? `${method} /framed HTTP/1.1` : `HTTP/1.1 ${status} xx`;
  return [lines, lines.toReversed()].map((order) => [first, ...order, "x: y"].join("\r\n"))
    .map((text) => `${text}\r\n\r\n`);
}

const formatName = ({ rule, rfc, method, status, lines }: FramingRow) =>
  `${rule} (${rfc}): ${method} ${status ?? ""} ${lines.join(", ")}`;

/** Reads a received body to a value that can be compared. */
async function readShape(
  body: Request["body"] | Response["body"],
): Promise<[Outcome, string | null]> {
  if (body === null) return [null, null];
  const text = await body.text();
  return [body.chunked ? "chunked" : body.contentLength, text];
}

Deno.test("the parser frames each message as the table says", async (t) => {
  for (const row of [...requestFraming, ...responseFraming]) {
    await t.step(formatName(row), () => {
      for (const text of makePreambles(row)) {
        const bytes = encodeLatin1(text);
        const parseFraming = () =>
          row.status === undefined
            ? parseRequestPreamble(bytes, 0, bytes.length).framing
            : determineReceivedFraming(
              row.method,
              parseResponsePreamble(row.method, bytes, 0, bytes.length),
            );
        const { body } = row;
        if (body === null || typeof body !== "object") assertEquals(parseFraming(), body);
        else assertProtocolError(parseFraming, [body.code], text);
      }
    });
  }
});

Deno.test("a server frames each request as the table says, and parses the next request after it", async (t) => {
  const requests: [uri: string, ...Awaited<ReturnType<typeof readShape>>][] = [];
  await using serving = serve(async ({ uri, body }) => {
    requests.push([uri, ...await readShape(body)]);
    return [204, "No Content", {}, null];
  });
  for (const row of requestFraming) {
    await t.step(formatName(row), async () => {
      for (const preamble of makePreambles(row)) {
        requests.length = 0;
        using peer = await RawPeer.connect(serving.address);
        const [bytes, text] = makeBodyBytes(row.body);
        await peer.send(`${preamble}${bytes}GET /next HTTP/1.1\r\n\r\n`);
        await peer.closeWrite();
        const { received } = await peer.readToEnd();
        const { body } = row;
        if (body === null || typeof body !== "object") {
          assertEquals(requests, [["/framed", body, text], ["/next", null, null]]);
        } else assertEquals([received, requests], [formatErrorResponse(400), []]);
      }
    });
  }
});

/** Makes a request, responds with the bytes, and makes a second request. */
async function exchange(address: Address, server: RawServer, method: Method, bytes: string) {
  using conn = await new Client(address, { host: null, timeout: 60 }).connect();
  using peer = await server.accept();
  const first = conn.request(method, "/", {}, null);
  first.catch(() => {});
  await peer.readPreamble();
  await peer.send(bytes);
  const { headers, body } = await first;
  const arrived = await readShape(body);
  const second = conn.get("/next");
  // A client that finds excess bytes doesn't send a second request.
  const answering = peer.readPreamble().then(() => peer.send("HTTP/1.1 204 No Content\r\n\r\n"));
  answering.catch(() => {});
  return { headers, arrived, next: (await second).status };
}

Deno.test("a client frames each response as the table says, and uses no byte after it for the next response", async (t) => {
  using server = new RawServer();
  for (const row of responseFraming) {
    await t.step(formatName(row), async () => {
      for (const preamble of makePreambles(row)) {
        const expected = row.body === "unframed" ? { code: "UNFRAMED_BODY" } : row.body;
        const [bytes, text] = makeBodyBytes(expected);
        const exchangeBytes = (bytes: string) =>
          exchange(server.address, server, row.method, bytes);
        const exchanged = exchangeBytes(preamble + bytes);
        if (expected !== null && typeof expected === "object") {
          const error = await catchRejection(exchanged, preamble);
          assertInstanceOf(error, ProtocolError);
          assertEquals(error.code, expected.code);
          continue;
        }
        const { headers, arrived, next } = await exchanged;
        assertEquals(arrived, [expected, text]);
        assertEquals(next, 204);
        // The proxy removes a content-length of 0, except from responses to HEAD and with 304.
        const isRemoved = row.method !== "HEAD" && row.status !== 304 &&
          row.lines.includes("content-length: 0");
        assertEquals(Object.keys(headers).length, row.lines.length + (isRemoved ? 0 : 1));
        if (expected !== null) continue;
        const forgedExchange = exchangeBytes(
          `${preamble}HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n`,
        );
        const error = await catchRejection(forgedExchange, "a forged response");
        assertInstanceOf(error, ProtocolError);
        assertEquals(error.code, "EXCESS_BYTES");
      }
    });
  }
});

Deno.test("a proxy passes each request on with its framing, and refuses each request that the table refuses", async (t) => {
  for (const row of requestFraming.filter(({ method }) => method !== "HEAD")) {
    await t.step(formatName(row), async () => {
      await using chain = await connectThrough();
      const [preamble = ""] = makePreambles(row);
      const { body } = row;
      const [bytes] = makeBodyBytes(body);
      await chain.clientPeer.send(preamble + bytes);
      if (body !== null && typeof body === "object") {
        assertEquals((await chain.clientPeer.readToEnd()).received, formatErrorResponse(400));
        return;
      }
      const upstreamPeer = await chain.upstream.accept();
      const forwarded = await upstreamPeer.readPreamble();
      const mayHaveBody = row.method === "PUT" || row.method === "POST";
      const emptyLength = body === null && mayHaveBody ? ["content-length: 0"] : [];
      const lines = row.lines.filter((line) => line !== "content-length: 0");
      for (const line of [...lines, ...emptyLength]) {
        assert(forwarded.includes(`\r\n${line}\r\n`), forwarded);
      }
      assertEquals(forwarded.includes("content-length: 0"), emptyLength.length > 0);
      await upstreamPeer.send("HTTP/1.1 204 No Content\r\n\r\n");
      assert((await chain.clientPeer.readPreamble()).startsWith("HTTP/1.1 204 "));
    });
  }
});
