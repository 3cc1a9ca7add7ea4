/** Responses whose body is the body of the request: apps that echo, or relay. */
import { assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { type App, Client, timeLimit, wrapApp } from "@degu/degu";
import { makeOutputFromInput } from "@degu/degu/base";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;

const echo: App = ({ body }) => [200, "OK", {}, body];
const ECHOES: Readonly<Record<string, App>> = {
  "the body": echo,
  "makeOutputFromInput": ({ body }) => [200, "OK", {}, makeOutputFromInput(body)],
  "an object": ({ body }) => ({ status: 200, reason: "OK", headers: {}, body }),
  "wrapApp": wrapApp(echo, (next) => next()),
  "timeLimit": timeLimit(echo, 60),
};

/** Makes bytes of which no two pieces are equal. */
function makeBytes(count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.from({ length: count / 4 }, (_, i) => i).buffer);
}

Deno.test("an app that returns the body of the request echoes it, and the connection continues", async (t) => {
  for (const [name, app] of Object.entries(ECHOES)) {
    await t.step(name, async () => {
      await using serving = serve(app);
      using conn = await serving.makeClient().connect();
      for (const count of [0, 4, 256 * KIBIBYTE]) {
        const bytes = makeBytes(count);
        const bodies = [bytes, new Blob([bytes]), new Blob([bytes]).stream()];
        for (const body of bodies) {
          const response = await conn.post("/", {}, body);
          assertEquals(response.status, 200);
          assertEquals(await response.bytes(), bytes);
        }
      }
      assertEquals((await conn.get("/")).body, null);
      assertEquals(conn.closed, false);
      assertEquals(serving.logger.lines, []);
    });
  }
});

Deno.test("the response to an echoed request begins before the request has ended, with its framing", async () => {
  for (
    const [header, first, last, response] of [
      ["content-length: 4", "ab", "cd", /\r\ncontent-length: 4\r\n\r\nabcd$/],
      [
        "transfer-encoding: chunked",
        "2\r\nab\r\n",
        "2\r\ncd\r\n0\r\n\r\n",
        /\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n$/,
      ],
    ] as const
  ) {
    await using serving = serve(echo);
    const begin = `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${header}\r\n\r\n${first}`;
    using peer = await RawPeer.connect(serving.address, begin);
    const begun = await peer.readUntil("ab");
    await peer.send(last);
    assertMatch(begun + (await peer.readToEnd()).received, response);
  }
});

Deno.test("an echo answers expect: 100-continue, requests in a row, and HTTP/1.0", async () => {
  await using serving = serve(echo);
  using peer = await RawPeer.connect(
    serving.address,
    "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
  );
  await peer.readUntil("100 Continue\r\n\r\n");
  const post = (version: string) =>
    `POST / HTTP/${version}\r\nhost: a\r\ncontent-length: 3\r\n\r\nyou`;
  await peer.send("me", post("1.1"), post("1.0"));
  const { received } = await peer.readToEnd();
  assertEquals(received.match(/HTTP\/1\.1 \d+|\r\n\r\n(me|you)/g), [
    "HTTP/1.1 200",
    "\r\n\r\nme",
    "HTTP/1.1 200",
    "\r\n\r\nyou",
    "HTTP/1.1 200",
    "\r\n\r\nyou",
  ]);
});

// ───────────────────────── bodies that are larger than the buffers

const LARGE_BYTES = 32 * MEBIBYTE;

/** Makes bodies with more bytes than two programs and the system buffer between them. */
const LARGE_BODIES: Readonly<Record<string, () => Blob | ReadableStream<Uint8Array>>> = {
  "a length": () => new Blob([new Uint8Array(LARGE_BYTES)]),
  "chunks": () => new Blob([new Uint8Array(LARGE_BYTES)]).stream(),
};

Deno.test("a client with duplex: full receives an echo of any length", async () => {
  await using serving = serve(echo);
  using conn = await serving.makeClient().connect();
  for (const [label, makeBody] of Object.entries(LARGE_BODIES)) {
    const response = await conn.post("/", {}, makeBody(), { duplex: "full" });
    let count = 0;
    for await (const piece of response.readable) count += piece.length;
    assertEquals([response.status, count], [200, LARGE_BYTES], label);
  }
});

Deno.test("half duplex: an echo of more than the buffers hold ends by a time-out whose error says so", async (t) => {
  const advice = /pass the option duplex: "full"/;
  for (const [label, makeBody] of Object.entries(LARGE_BODIES)) {
    await t.step(`the time-out of the client, ${label}`, async () => {
      await using serving = serve(echo);
      const client = new Client(serving.address, { timeout: 0.4 });
      const request = client.post("/", {}, makeBody());
      const error = await withTimeout(catchRejection(request, label), "the time-out");
      assertInstanceOf(error, Deno.errors.TimedOut);
      assertMatch(error.message, advice);
    });
    await t.step(`the time-out of the server, ${label}`, async () => {
      await using serving = serve(echo, { timeout: 0.4 });
      const read = async () => {
        const response = await serving.makeClient().post("/", {}, makeBody());
        for await (const _ of response.readable);
      };
      const error = await withTimeout(catchRejection(read(), label), "the end of the body");
      assertMatch(`${error}`, advice);
      const [line = ""] = await serving.logger.waitFor("info", "TimedOut");
      assertMatch(
        line,
        /0\.4 s to read what was sent: .*while it sends its request.*duplex: "full"/,
      );
    });
  }
});
