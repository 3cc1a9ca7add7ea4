/** The last response of a session: its framing and headers, and the bytes discarded after it. */
import type { HeadersToSend, Method, Socket } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { App, AppFunction } from "@degu/degu/server";
import { exchange, RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";
import { Agent, request as ask } from "node:http";
import { linger } from "@degu/internal/net/server/lingering.ts";
import { Transport } from "@degu/internal/net/transport/transport.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { FakeTime } from "@std/testing/time";

const CLIENTS = [
  ...["host: a", "user-agent: curl/8.5.0", "accept: */*", "accept-encoding: gzip"],
  ...["Accept: text/html", "connection: keep-alive", "Connection: Keep-Alive, te"],
];
const CLOSE = "connection: close\r\n";
const EMPTY = "content-length: 0\r\n";

Deno.test("a null body is framed as zero bytes for every client, if a response may have a body", async (t) => {
  const rows: [method: string, status: number, isEmpty: boolean][] = [
    ["GET", 200, true],
    ["POST", 201, true],
    ["GET", 205, true],
    ["DELETE", 404, true],
    ["HEAD", 200, false],
    ["GET", 204, false],
    ["GET", 304, false],
  ];
  for (const [method, status, isEmpty] of rows) {
    await t.step(`${method} ${status}`, async () => {
      await using serving = serve(() => [status, "As told", {}, null]);
      for (const header of CLIENTS) {
        const sent = `${method} / HTTP/1.1\r\n${header}\r\n\r\n`;
        const { received } = await exchange(serving.address, sent.repeat(2));
        const lines = isEmpty ? EMPTY : "";
        assertEquals(received, `HTTP/1.1 ${status} As told\r\n${lines}\r\n`.repeat(2), header);
      }
    });
  }
});

Deno.test("with unframedNull a null body has no framing, unless the app returns content-length: 0; the last response has framing and connection: close", async () => {
  const headersByUri: Record<string, HeadersToSend> = { "/": {}, "/zero": { "content-length": 0 } };
  const app: App = ({ uri }) => [uri === "/" ? 200 : 401, "xx", headersByUri[uri]!, null];
  await using pair = await connectRawPeer(
    app,
    "GET / HTTP/1.1\r\n\r\nGET /zero HTTP/1.1\r\n\r\n",
    { unframedNull: true },
  );
  const last = `HTTP/1.1 401 xx\r\n${CLOSE}${EMPTY}\r\n`;
  assertEquals((await pair.peer.readToEnd()).received, `HTTP/1.1 200 xx\r\n\r\n${last}`);
});

Deno.test("with unframedNull a client sends null without framing, and without the option as zero bytes", async () => {
  for (const unframedNull of [true, false]) {
    using server = new RawServer();
    using conn = await new Client(server.address, { host: null, unframedNull }).connect();
    using peer = await server.accept();
    for (const [method, headers] of [["PUT", {}], ["POST", { "content-length": 0 }], ["GET", {}]]) {
      const response = conn.request(method as Method, "/", headers as HeadersToSend, null);
      const isBare = method === "GET" || unframedNull && method === "PUT";
      const lines = isBare ? "" : EMPTY;
      assertEquals(await peer.readPreamble(), `${method} / HTTP/1.1\r\n${lines}\r\n`);
      await peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      await response;
    }
  }
});

Deno.test("the last response has connection: close with any header of the app, and the log names the reason", async (t) => {
  const put = "content-length: 5\r\n\r\nhello";
  const makeStatusApp = (status: number): AppFunction => () => [status, "As told", {}, null];
  const readingApp: AppFunction = async ({ body }) => {
    await body!.bytes();
    return [200, "OK", {}, null];
  };
  const makeApp =
    (value: string): AppFunction => () => [500, "As told", { connection: value }, null];
  const failed = "a response with status 500";
  const unread = "the body of a request was left unread";
  const limit = "the limit of 3 requests";
  const rows: [
    label: string,
    app: App,
    rest: string,
    lines: string,
    level: "debug" | "info",
    reason: string,
  ][] = [
    ["500", makeStatusApp(500), "\r\n", CLOSE, "debug", failed],
    ["401", makeStatusApp(401), "\r\n", CLOSE, "debug", "a response with status 401"],
    ["unread", makeStatusApp(200), put, CLOSE, "info", `${unread} (status 200)`],
    ["unread, 404", makeStatusApp(404), put, CLOSE, "info", `${unread} (status 404)`],
    ["the third request", makeStatusApp(200), "\r\n", CLOSE, "debug", limit],
    ["the third request, 405", makeStatusApp(405), "\r\n", CLOSE, "debug", limit],
    ["the third request, read", readingApp, put, CLOSE, "debug", limit],
    [
      "keep-alive",
      makeApp("keep-alive"),
      "\r\n",
      "connection: keep-alive, close\r\n",
      "debug",
      failed,
    ],
    ["te", makeApp("te"), "\r\n", "connection: te, close\r\n", "debug", failed],
    [
      "own",
      makeApp("close"),
      "\r\n",
      CLOSE,
      "debug",
      "a response with connection: close (status 500)",
    ],
  ];
  await testEachRow(t, rows, async (_label, app, rest, lines, level, reason) => {
    const sent = `PUT / HTTP/1.1\r\n${rest}`;
    await using pair = await connectRawPeer(app, sent.repeat(3), { maxRequests: 3 });
    const { received } = await pair.peer.readToEnd();
    assertEquals(received.slice(received.lastIndexOf("HTTP/1.1 ")).split("\r\n").slice(1), [
      ...lines.split("\r\n").filter(Boolean),
      ...EMPTY.split("\r\n"),
      "",
    ]);
    assertEquals(pair.session.message, reason);
    assertEquals(pair.logger.lines, [[level, `${pair.session}: ended after ${reason}`]]);
  });
});

Deno.test("a pool of node:http loses no request when its connections end", async () => {
  let calls = 0;
  const statuses = [200, 500, 404, 204, 401, 405];
  await using serving = serve(({ uri }) => {
    calls++;
    return [statuses[Number(uri.slice(1)) % 6]!, "As told", {}, null];
  }, { maxRequests: 5 });
  const [host, port] = serving.address as readonly [string, number];
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  const makeRequest = (n: number) =>
    new Promise<number>((resolve, reject) => {
      ask({ agent, host, port, path: `/${n}`, method: "POST" }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode!));
      }).on("error", reject).end();
    });
  const texts = await Promise.all(Array.from({ length: 100 }, (_, n) => makeRequest(n)));
  agent.destroy();
  assertEquals(texts, texts.map((_, n) => statuses[n % 6]!));
  assertEquals(calls, 100);
});

// ───────────────────────── bytes that are discarded after the last response

const ROW = "bytes discarded after the last response +";

/**
 * Ends a connection whose peer sends this many bytes more, and then ends its side or waits forever.
 */
function lingerWith(bytes: number, endsSide = true, timeout: number | null = null) {
  const state = { read: 0, sawEnd: false, isClosed: false };
  const waiting = Promise.withResolvers<number | null>();
  waiting.promise.catch(() => {});
  const socket: Socket = {
    read(into) {
      const count = Math.min(into.length, bytes - state.read);
      state.read += count;
      if (count > 0) return Promise.resolve(count);
      state.sawEnd = endsSide;
      return endsSide ? Promise.resolve(null) : waiting.promise;
    },
    write: (bytes) => Promise.resolve(bytes.length),
    close() {
      state.isClosed = true;
      waiting.reject(new Deno.errors.BadResource("closed"));
    },
  };
  const transport = new Transport(socket, timeout, () => {});
  return { transport, seen: state, end: () => linger(transport, socket) };
}

async function runMicrotasks(): Promise<void> {
  for (let microtask = 0; microtask < 100; microtask++) await null;
}

Deno.test("later bytes of a peer are discarded up to the limit of docs/security.md, and no more are read", async () => {
  const limit = 2 ** 20 *
    await readStatedNumber("docs/security.md", new RegExp(`${ROW}\\| (\\d+) MiB`));
  for (const [bytes, sawEnd] of [[limit - 1, true], [limit, false], [limit + 1, false]] as const) {
    const { transport, seen: state, end } = lingerWith(bytes);
    await end();
    assertEquals(state.sawEnd, sawEnd, `${bytes} bytes`);
    assertEquals(state.read, Math.min(bytes, limit));
    transport.close();
  }
});

Deno.test("when the server has stopped reading, the peer has 0.2 seconds to read the response, also without TLS", async () => {
  using time = new FakeTime();
  const { transport, end } = lingerWith(2 ** 21);
  let hasEnded = false;
  const lingering = end().then(() => hasEnded = true);
  for (let elapsed = 0; elapsed < 200; elapsed += 20) {
    await runMicrotasks();
    assertEquals(hasEnded, false, `after ${elapsed} ms`);
    time.tick(20);
  }
  await lingering;
  transport.close();
});

Deno.test("a server waits for a peer that neither ends nor reads as long as docs/security.md says, to the millisecond", async () => {
  const seconds = await readStatedNumber(
    "docs/security.md",
    new RegExp(`${ROW}\\| \\d+ MiB or (\\d+) s`),
  );
  for (const timeout of [null, 0.2]) {
    using time = new FakeTime();
    const { seen: state, end } = lingerWith(1000, false, timeout);
    const lingering = end();
    await runMicrotasks();
    time.tick(seconds * 1000 - 1);
    await runMicrotasks();
    assertEquals(state, { read: 1000, sawEnd: false, isClosed: false }, `time-out ${timeout}`);
    time.tick(1);
    await lingering;
    assertEquals(state.isClosed, true);
  }
});
