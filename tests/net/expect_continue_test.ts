/**
 * `expect: 100-continue` (RFC 9110 §10.1.1): one 100 at most, before the response, and only when
 * the app reads a body of which no byte has arrived.
 */
import { ConnectionPool, createFetch, ProxyApp } from "@degu/degu";
import type { BodyOut } from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import type { App, ResponseTuple } from "@degu/degu/server";
import { recordIntervals } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { connectThrough, serveProxy } from "@degu/testing/proxies.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeServerConnection, serve } from "@degu/testing/serving.ts";
import { ignoreUnlessInstalled, runWithInput } from "@degu/testing/tls_openssl.ts";
import { assertEquals, assertInstanceOf, assertMatch } from "@std/assert";

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const EXPECT = "expect: 100-continue\r\n";
const LENGTH = "content-length: 5\r\n";
const CHUNKED = "transfer-encoding: chunked\r\n";
const CHUNKS = "5\r\nhello\r\n0\r\n\r\n";
const CLOSE = "connection: close\r\n";

const put = (...headers: string[]) => `PUT / HTTP/1.1\r\n${headers.join("")}\r\n`;

/** Formats a response of an app with a text. */
const ok = (text: string, close = "") =>
  `HTTP/1.1 200 OK\r\n${close}content-length: ${text.length}\r\n\r\n${text}`;
const empty = (statusLine: string, close = "") =>
  `HTTP/1.1 ${statusLine}\r\n${close}content-length: 0\r\n\r\n`;

const respond = (body: BodyOut): ResponseTuple => [200, "OK", {}, body];
const readText: App = async (request) => respond(await request.text());

/**
 * Starts a server of each kind, and one behind a proxy; `connect` opens a connection for raw bytes.
 */
const places = [
  ...["IPv4", "Unix path", "abstract name", "TLS over IPv4", "TLS over a Unix path"].map((name) =>
    [name, false] as const
  ),
  ["IPv4", true] as const,
];

async function start(app: App, [name, isProxied]: (typeof places)[number]) {
  const stack = new AsyncDisposableStack();
  const kind = endpointKinds.find((kind) => kind.name === name)!;
  const upstream = stack.use(await kind.start(app));
  let { client } = upstream;
  if (isProxied) {
    const proxyApp = stack.use(new ProxyApp(client));
    client = stack.use(serve((request, session) => proxyApp.handle(request, session)))
      .makeClient() as typeof client;
  }
  return {
    async connect() {
      const connection = await client.connect();
      // A connection that is garbage collected closes its socket.
      stack.defer(() => connection.close());
      return new RawPeer(connection.sock as Deno.Conn);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Sends text in one write, or byte by byte. */
const WAYS = {
  "in one piece": (text: string) => [text],
  "byte by byte": (text: string) => [...text],
};

/** What a client sends and then receives, step by step; and whether the session then ends. */
interface Dialog {
  readonly app: App;
  readonly steps: readonly (readonly [sent: string, received: string])[];
  readonly isLast?: boolean;
  /** Steps through a proxy, whose own app reads every body. */
  readonly proxied?: readonly (readonly [sent: string, received: string])[] | null;
}

const whole = [[put(EXPECT, LENGTH), CONTINUE], ["hello", ok("hello")]] as const;

/** Makes a dialog whose only response arrives before the body, and ends the session. */
function makeUnreadDialog(app: App, received: string): Dialog {
  return { app, steps: [[put(EXPECT, LENGTH), received]], isLast: true, proxied: null };
}

const dialogs: Readonly<Record<string, Dialog>> = {
  "the app reads a body of known length": { app: readText, steps: whole },
  "the app reads chunks": {
    app: readText,
    steps: [[put(EXPECT, CHUNKED), CONTINUE], [CHUNKS, ok("hello")]],
  },
  "each request of a session": {
    app: readText,
    steps: [
      ...whole,
      [put(LENGTH) + "hello", ok("hello")],
      ...whole,
      ["GET / HTTP/1.1\r\n\r\n", ok("")],
      ...whole,
    ],
  },
  "the last request": {
    app: readText,
    steps: [[put(EXPECT, LENGTH, CLOSE), CONTINUE], ["hello", ok("hello", CLOSE)]],
    isLast: true,
  },
  // No 100.
  "the body came with the preamble": {
    app: readText,
    steps: [[put(EXPECT, LENGTH) + "hello", ok("hello")], [
      put(EXPECT, CHUNKED) + CHUNKS,
      ok("hello"),
    ]],
  },
  "a part of the body came with the preamble": {
    app: readText,
    steps: [[put(EXPECT, LENGTH) + "h", ""], ["ello", ok("hello")]],
  },
  "an app that never reads": makeUnreadDialog(() => respond(null), empty("200 OK", CLOSE)),
  "an app that refuses the announced length": makeUnreadDialog(
    async (request) => respond(await request.text({ maxBytes: 4 })),
    empty("413 Content Too Large", CLOSE),
  ),
  "an app that reads after its response has begun": {
    app: (request) => {
      const read = async function* () {
        yield "a";
        yield await request.text();
      };
      return respond(read());
    },
    steps: [
      [put(EXPECT, LENGTH), `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n1\r\na\r\n`],
      ["hello", "5\r\nhello\r\n0\r\n\r\n"],
    ],
    proxied: null,
  },
  "no body": {
    app: readText,
    steps: [
      [put(EXPECT, "content-length: 0\r\n"), ok("")],
      [put(EXPECT), ok("")],
      [`GET / HTTP/1.1\r\n${EXPECT}\r\n${put(LENGTH)}`, ok("")],
      ["hello", ok("hello")],
    ],
  },
  "a pipelined request after it": {
    app: readText,
    steps: [[`${put(EXPECT, LENGTH)}helloGET / HTTP/1.1\r\n\r\n`, ok("hello") + ok("")]],
  },
  "another expectation": {
    app: readText,
    steps: [
      ...["200-ok", "100", "100-continue, 100-continue", "100-continue;q=1", "x=100-continue"],
      ...['"100-continue"', "x, 100-continue", "100-continue,", "100 continue"],
    ].flatMap((value) =>
      [[put(`expect: ${value}\r\n`, LENGTH), ""], ["hello", ok("hello")]] as const
    ),
  },
};

for (const place of places) {
  const [name, isProxied] = place;
  const label = isProxied ? `${name}, through a proxy` : name;
  Deno.test(`a server sends 100 exactly once if the app reads a body of which no byte has arrived, over ${label}`, async (t) => {
    const rows = Object.entries(dialogs);
    await testEachRow(t, rows, async (_name, dialog) => {
      const { app, steps, isLast, proxied = steps } = dialog;
      const ownSteps = isProxied ? proxied : steps;
      if (ownSteps === null) return;
      await using ends = await start(app, place);
      for (const [way, cut] of Object.entries(WAYS)) {
        using peer = await ends.connect();
        for (const [sent, received] of ownSteps) {
          // Byte by byte, the start of a body that follows its preamble at once might be too late.
          const preambleEnd = sent.indexOf("\r\n\r\n");
          const isCut = preambleEnd < 0 || preambleEnd === sent.length - 4;
          await peer.send(...(isCut ? cut(sent) : [sent]));
          if (received === "") await waitForTick();
          else assertEquals(await peer.readExactly(received.length), received, way);
        }
        if (!isLast) await peer.closeWrite();
        assertEquals((await peer.readToEnd()).received, "", way);
      }
    });
  });
}

Deno.test("a 100 that the socket takes byte by byte is complete before the response", async () => {
  const socket = new RecordingSocket({ perWrite: 1 });
  const { connection } = makeServerConnection(socket, ({ body }) => {
    body!.read().catch(() => {});
    return [403, "Forbidden", {}, null];
  });
  socket.receive(put(EXPECT, LENGTH));
  const serving = connection.serve();
  const expected = CONTINUE + empty("403 Forbidden", CLOSE);
  while (socket.writes.length < expected.length) await waitForTick();
  socket.end();
  await serving;
  assertEquals(socket.writes.join(""), expected);
});

/** A socket that tells when its second read begins. */
class TwiceReadSocket extends RecordingSocket {
  readonly secondRead = Promise.withResolvers<void>();
  #readCount = 0;

  override read(into: Uint8Array): Promise<number | null> {
    if (++this.#readCount === 2) this.secondRead.resolve();
    return super.read(into);
  }
}

Deno.test("a read that waits for a probe of the peer sends 100, unless the probe has found bytes", async (t) => {
  using _intervals = recordIntervals(10);
  for (const [label, arrivesBefore] of [["no bytes", false], ["bytes", true]] as const) {
    await t.step(label, async () => {
      const bodyWanted = Promise.withResolvers<void>();
      const socket = new TwiceReadSocket();
      const { connection } = makeServerConnection(socket, async (request, session) => {
        assertEquals(session.signal.aborted, false); // starts the probes
        await bodyWanted.promise;
        return respond(await request.text());
      });
      socket.receive(put(EXPECT, LENGTH));
      const serving = connection.serve();
      await withTimeout(socket.secondRead.promise, "a probe");
      if (arrivesBefore) socket.receive("hello");
      await waitForTick();
      assertEquals(socket.writes, []);
      bodyWanted.resolve();
      await waitForTick();
      assertEquals(socket.writes.join(""), arrivesBefore ? ok("hello") : CONTINUE);
      if (!arrivesBefore) socket.receive("hello");
      await waitForTick();
      socket.end();
      await serving;
      assertEquals(socket.writes.join(""), (arrivesBefore ? "" : CONTINUE) + ok("hello"));
    });
  }
});

Deno.test("a session whose 100 can't be written ends, and its app gets the error", async () => {
  const socket = new RecordingSocket();
  const errors: unknown[] = [];
  const { connection } = makeServerConnection(socket, async (request) => {
    socket.writeFailure = new Deno.errors.BrokenPipe("gone");
    errors.push(await catchRejection(request.text(), "the read"));
    return respond("");
  });
  socket.receive(put(EXPECT, LENGTH));
  await connection.serve();
  assertEquals([errors, socket.writes], [[socket.writeFailure], []]);
});

Deno.test("a proxy answers expect itself: it sends 100 when it forwards the body, and none if it can't connect", async () => {
  await using chain = await connectThrough();
  const { clientPeer, upstream } = chain;
  await clientPeer.send(put(EXPECT, LENGTH));
  const upstreamPeer = await upstream.accept();
  assertEquals(await upstreamPeer.readPreamble(), put(LENGTH));
  assertEquals(await clientPeer.readPreamble(), CONTINUE);
  await clientPeer.send("hello");
  assertEquals(await upstreamPeer.readExactly(5), "hello");
  await upstreamPeer.send(ok("fine"));
  assertEquals(await clientPeer.readExactly(ok("fine").length), ok("fine"));

  await using proxy = serveProxy(["127.0.0.1", await findUnusedPort()]);
  using peer = await RawPeer.connect(proxy.address, put(EXPECT, LENGTH));
  assertEquals((await peer.readToEnd()).received, empty("503 Service Unavailable", CLOSE));
});

Deno.test({
  name: "curl -T uploads at once, with and without expect, and doesn't upload what is refused",
  ...await ignoreUnlessInstalled("curl"),
  async fn() {
    await using dir = await createTempDir();
    const content = new Uint8Array(3_000_000).fill(120);
    await Deno.writeFile(`${dir.path}/file`, content);
    await using serving = serve(async (request) => {
      if (request.path[0] === "refused") return [403, "Forbidden", {}, null];
      return respond(`${(await request.bytes()).length}`);
    });
    const [, port] = serving.address as [string, number];
    // Without an answer to expect, curl would wait for a minute.
    const flags = ["--silent", "--show-error", "--noproxy", "*", "--expect100-timeout", "60"];
    const rows: [uri: string, printed: string, ...args: string[]][] = [
      ["accepted", "3000000 200 3000000"],
      ["accepted", "3000000 200 3000000", "-H", "Expect: 100-continue"],
      ["accepted", "3000000 200 3000000", "-H", "Expect:"],
      ["accepted", "3000000 200 3000000", "-H", "Transfer-Encoding: chunked"],
      ["refused", " 403 0"],
      ["refused", " 403 0", "-H", "Expect: 100-continue"],
    ];
    for (const [uri, printed, ...args] of rows) {
      const url = `http://127.0.0.1:${port}/${uri}`;
      const format = ["--write-out", " %{http_code} %{size_upload}"];
      const upload = ["-T", `${dir.path}/file`];
      const { code, stdout } = await withTimeout(
        runWithInput("curl", [...flags, ...format, ...args, ...upload, url], ""),
        "curl ends",
        30,
      );
      // A chunked upload has a few bytes more.
      const isChunked = args.includes("Transfer-Encoding: chunked");
      assertEquals([code, isChunked ? stdout.slice(0, 11) : stdout], [
        0,
        isChunked ? printed.slice(0, 11) : printed,
      ], `${uri} ${args}`);
    }
  },
});

// ───────────────────────── the client

Deno.test("a client refuses to send expect, before it connects or sends a byte", async (t) => {
  let connections = 0;
  await using serving = serve({ handle: readText, onConnect: () => ++connections > 0 });
  const client = serving.makeClient();
  await using pool = new ConnectionPool(client);
  const message = /^headers\["expect"\]: must be left out, because .* 100 Continue; .* forward$/;
  const rows: Record<string, () => unknown> = {
    "a client": () => client.request("PUT", "/", { expect: "100-continue" }, "hello"),
    "another value": () => client.request("GET", "/", { expect: "x" }),
    "a pool": () => pool.request("PUT", "/", { expect: "100-Continue" }, "hello"),
    "headers of a client": () => serving.makeClient({ headers: { expect: "100-continue" } }),
  };
  await testEachRow(t, Object.entries(rows), async (label, request) => {
    const error = await catchRejection((async () => await request())(), label);
    assertInstanceOf(error, RangeError);
    assertMatch(error.message, message);
  });
  await t.step("fetch", async () => {
    const fetch = createFetch(client);
    const headers = { expect: "100-continue" };
    const error = await catchRejection(fetch("/", { method: "PUT", body: "a", headers }), "fetch");
    assertInstanceOf(error, TypeError);
    assertMatch((error.cause as Error).message, message);
  });
  assertEquals(connections, 0);
  await t.step("a connection, which stays usable", async () => {
    using conn = await client.connect();
    assertInstanceOf(await catchRejection(conn.put("/", { expect: "x" }, "a"), "put"), RangeError);
    assertEquals(await (await conn.put("/", { expect: undefined }, "a")).text(), "a");
    using inner = await client.connect();
    using based = new Connection(inner.sock, { expect: "100-continue" });
    assertInstanceOf(await catchRejection(based.get("/"), "base headers"), RangeError);
  });
});
