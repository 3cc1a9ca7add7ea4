/**
 * The rows of attacks.rows.ts through two proxies in a row; and the log of README.md's server: peers
 * can't cause lines above level info, whatever they send.
 */
import { Client, ProxyApp } from "@degu/degu";
import type { Address } from "@degu/degu/base";
import type { App, AppFunction } from "@degu/degu/server";
import { formatErrorResponse } from "../net/server/error_answers.ts";
import { relayRequestHeaders } from "../apps/proxies.ts";
import { dial, exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { RecordingRelay } from "./recording_relay.ts";
import { checkEachRow, testEachRow } from "@degu/testing/rows.ts";
import { openSharedPki, serveRaw } from "@degu/testing/tls_endpoints.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { respellReferenceUri } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";
import { describe, type ModelRequest, readOneResponse, readRequests } from "../fuzz/oracle.ts";
import { describeApp } from "../base/wire/requests.rows.ts";
import {
  DROPPED_LINES,
  type RequestAttack,
  requestAttacks,
  type ResponseAttack,
  responseAttacks,
} from "./attacks.rows.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { makeRequest, makeRequestPreamble } from "../fuzz/grammar.ts";
import { Random } from "../fuzz/random.ts";

/** A proxy whose connections to the upstream can be closed between two rows. */
class RenewableProxy implements AsyncDisposable {
  /** The number of requests that the proxy has got. */
  calls = 0;
  readonly #client: Client;
  #app: ProxyApp;
  readonly #serving: Serving;

  constructor(upstream: Address) {
    this.#client = new Client(upstream, { host: null, timeout: 60 });
    this.#app = new ProxyApp(this.#client);
    const handle: AppFunction = (request, session) => {
      this.calls++;
      return this.#app.handle(request, session);
    };
    this.#serving = serve(handle, { timeout: null, hosts: "any" });
  }

  get address(): Address {
    return this.#serving.address;
  }

  async renew(): Promise<void> {
    await this.#app.close();
    this.#app = new ProxyApp(this.#client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#app.close();
    await this.#serving[Symbol.asyncDispose]();
  }
}

/** Two proxies in a row, and what each sends on. */
async function startChain(upstream: Address) {
  await using stack = new AsyncDisposableStack();
  const innerRelay = stack.use(new RecordingRelay(upstream));
  const innerProxy = stack.use(new RenewableProxy(innerRelay.address));
  const outerRelay = stack.use(new RecordingRelay(innerProxy.address));
  const outerProxy = stack.use(new RenewableProxy(outerRelay.address));
  const running = stack.move();
  return {
    address: outerProxy.address,
    /** Returns the number of requests that the first proxy has got. */
    countCalls: () => outerProxy.calls,
    /** Closes all connections, and returns the bytes that each proxy has sent to its upstream. */
    async take(): Promise<[outer: string[], inner: string[]]> {
      await outerProxy.renew();
      const outer = await outerRelay.takeSent();
      await innerProxy.renew();
      return [outer, await innerRelay.takeSent()];
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Returns a request as a proxy forwards it. */
function relayedRequest(request: ModelRequest): ModelRequest {
  const headers = relayRequestHeaders(request.headers);
  return { ...request, uri: respellReferenceUri(request.uri), headers };
}

/** Sends the bytes of a row, and returns all responses. */
async function converse(address: Address, row: RequestAttack): Promise<string> {
  using peer = await RawPeer.connect(address);
  let received = "";
  try {
    await peer.send(row.bytes);
    for (const _ of row.accepted) received += await peer.readUntil("|end|");
    if (row.last === "wait") await peer.closeWrite();
  } catch {
    // The proxy has closed the connection, after the bytes that are still unread.
  }
  return received + (await peer.readToEnd()).received;
}

const describeRequests = (requests: readonly ModelRequest[]) =>
  requests.map(({ method, uri, headers, body }) => describe({ method, uri, headers, body }));

Deno.test("through two proxies a server gets exactly the requests that the RFCs read in the bytes of a client", async () => {
  let seenRequests: string[] = [];
  await using server = serve(async (request) => {
    const [, , , text] = await describeApp(request);
    seenRequests.push(text);
    return [200, "OK", {}, "|end|"];
  }, { timeout: null, hosts: "any" });
  await using chain = await startChain(server.address);
  await checkEachRow(requestAttacks, async (row) => {
    seenRequests = [];
    const callsBefore = chain.countCalls();
    const received = await converse(chain.address, row);
    const calls = chain.countCalls() - callsBefore;
    assertEquals(calls, row.accepted.length + (row.broken === undefined ? 0 : 1));
    // Bytes that a proxy would send without a call are found with a later row.
    const [outer, inner] = calls === 0 ? [[], []] : await chain.take();

    // The independent reading agrees with the row.
    const stream = readRequests(row.bytes);
    const targets = stream.requests.map(({ method, uri }) => `${method} ${uri}`);
    assertEquals(targets, [...row.accepted]);
    assertEquals(stream.broken?.uri, row.broken);

    // Both proxies send these requests, and no other complete request.
    const expected = describeRequests(stream.requests.map(relayedRequest));
    for (const sent of [outer, inner]) {
      const sentStreams = sent.map(readRequests);
      const sentRequests = sentStreams.flatMap(({ requests }) => requests);
      assertEquals(describeRequests(sentRequests), expected);
      for (const { clean, broken } of sentStreams) {
        if (!clean) assertEquals(broken?.uri, row.broken);
      }
    }

    // The server also gets these.
    const seenTargets = seenRequests.map((text) => JSON.parse(text).slice(0, 2).join(" "));
    assertEquals(seenTargets, [...row.accepted]);
    const end = typeof row.last === "number" ? formatErrorResponse(row.last) : "";
    const responses = received.split("|end|");
    assertEquals([responses.length - 1, responses.at(-1)], [row.accepted.length, end]);
  });
  assertEquals(await chain.take(), [[], []]);
});

Deno.test("through two proxies a server gets no header whose name another could be mistaken for", async (t) => {
  await using server = serve(({ headers }) => [200, "OK", {}, `${Object.keys(headers)}`]);
  await using chain = await startChain(server.address);
  await testEachRow(t, DROPPED_LINES.map((line) => [line] as const), async (line) => {
    using peer = await RawPeer.connect(chain.address);
    await peer.send(`GET / HTTP/1.1\r\nhost: a\r\n${line}\r\nx-user-1: b\r\n\r\n`);
    const response = await peer.readUntil("x-user-1");
    assert(response.endsWith("\r\n\r\nhost,x-user-1"), response);
    peer.close();
    const sent = (await chain.take()).flat();
    assertEquals(sent, Array(2).fill("GET / HTTP/1.1\r\nhost: a\r\nx-user-1: b\r\n\r\n"));
  });
});

/** A server that sends the bytes of a row in response to `/attack`, and `honest` otherwise. */
class Attacker implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #peers = new Set<RawPeer>();
  attack: ResponseAttack | null = null;

  constructor() {
    this.#accept();
  }

  get address(): Address {
    return ["127.0.0.1", (this.#listener.addr as Deno.NetAddr).port];
  }

  async #accept(): Promise<void> {
    for await (const conn of this.#listener) {
      const peer = new RawPeer(conn);
      this.#peers.add(peer);
      this.#respond(peer).catch(() => {}).finally(() => {
        peer.close();
        this.#peers.delete(peer);
      });
    }
  }

  async #respond(peer: RawPeer): Promise<void> {
    for (;;) {
      const preamble = await peer.readPreamble();
      if (!preamble.includes(" /attack ")) {
        await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhonest");
        continue;
      }
      await peer.send(this.attack!.bytes);
      if (this.attack!.isClosed) await peer.closeWrite();
    }
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const peer of this.#peers) peer.close();
  }
}

Deno.test("through two proxies a client gets the whole response of one reading, 502, or no end, and an honest response next", async () => {
  using attacker = new Attacker();
  await using innerProxy = serve(new ProxyApp(new Client(attacker.address, { timeout: 60 })));
  await using outerProxy = serve(new ProxyApp(innerProxy.makeClient()));
  await checkEachRow(responseAttacks, async (row) => {
    attacker.attack = row;
    const { method, outcome, body } = row;
    using peer = await RawPeer.connect(outerProxy.address);
    await peer.send(`${method} /attack HTTP/1.1\r\nhost: a\r\n\r\n`);
    const next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const honest = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nhonest";
    if (outcome === "cut") {
      const { received } = await peer.readToEnd();
      const response = readOneResponse(method, received);
      assert(response !== null && response.body === undefined, received);
      assertEquals([response.status, response.closes], [200, false]);
    } else if (outcome === 502) {
      assertEquals(await peer.readPreamble(), formatBadGateway(method));
      await peer.send(next);
      assertEquals((await peer.readToEnd()).received, honest);
    } else {
      const preamble = await peer.readPreamble();
      await peer.send(next);
      const { received } = await peer.readToEnd();
      const response = readOneResponse(method, preamble + received)!;
      assertEquals([response.status, textOf(response.body)], [outcome, body]);
      assertEquals(received.slice(-response.excess), honest);
    }
    // Another session isn't affected.
    using otherPeer = await RawPeer.connect(outerProxy.address, next);
    const { received } = await otherPeer.readToEnd();
    assert(received.endsWith("\r\n\r\nhonest") && !received.includes("orged"), received);
  });
});

const formatBadGateway = (method: string) =>
  `HTTP/1.1 502 Bad Gateway\r\n${method === "HEAD" ? "" : "content-length: 0\r\n"}\r\n`;

function textOf(body: ModelRequest["body"] | undefined): string {
  if (typeof body === "string") return body;
  return (body ?? []).map(([, data]) => data).join("");
}

/** Responses whose end a FIN without close_notify could forge, and responses that have an end. */
const TLS_RESPONSES: readonly (readonly [
  response: string,
  outcome: number | "cut",
])[] = [
  ["HTTP/1.1 200 OK\r\n\r\nhello", 502],
  ["HTTP/1.1 200 OK\r\n\r\n", 502],
  ["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", 502],
  ["HTTP/1.0 200 OK\r\n\r\nhello", 502],
  ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200],
  ["HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200],
  ["HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", "cut"],
  ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "cut"],
  ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "cut"],
];

Deno.test("through two proxies no response over TLS ends with a FIN, with or without close_notify", async (t) => {
  const pki = await openSharedPki();
  for (const isNotified of [true, false]) {
    await testEachRow(
      t,
      TLS_RESPONSES.map(([response, outcome]) =>
        [`${JSON.stringify(response)} ${isNotified}`, response, outcome] as const
      ),
      async (_label, response, outcome) => {
        await using upstream = await serveRaw(pki, (socket) => {
          socket.once("data", () => {
            // A destroyed socket sends no close_notify.
            socket.write(response, () => isNotified ? socket.end() : socket.destroy());
          });
        });
        await using innerApp = new ProxyApp(upstream.client);
        await using innerProxy = serve(innerApp);
        await using outerApp = new ProxyApp(innerProxy.makeClient());
        await using outerProxy = serve(outerApp);
        using peer = await RawPeer.connect(outerProxy.address);
        await peer.send("GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
        const { received } = await peer.readToEnd();
        const relayed = readOneResponse("GET", received)!;
        if (outcome === "cut") {
          return assertEquals([relayed.status, relayed.body], [200, undefined]);
        }
        assertEquals(relayed.status, outcome);
        assertEquals(textOf(relayed.body), outcome === 200 ? "hello" : "");
      },
    );
  }
});

// ───────────────────────── the server of README.md

/** Loads the app of README.md, which doesn't export it. */
async function loadHelloApp(): Promise<App> {
  const [, source = ""] =
    /^`hello\.ts`:\n+```ts\n(.*?)^```$/ms.exec(await readProjectFile("README.md")) ?? [];
  const text = encodeURIComponent(`${source}\nexport { app };`);
  return (await import(`data:application/typescript,${text}`)).app;
}

/** Sends each text over a new connection; returns the responses. */
async function sendEach(serving: Serving, texts: Iterable<string | Uint8Array>): Promise<string> {
  let responses = "";
  for (const text of texts) {
    const { logger } = serving;
    const lineCount = logger.lines.length;
    responses += (await exchange(serving.address, text)).received;
    for (const [level, line] of logger.lines.slice(lineCount)) {
      assert(level === "info" || level === "debug", `${level}: ${line}`);
      // An exception is logged with its stack, and an action of a peer with one line.
      assert(!line.includes("\n"), line);
    }
  }
  return responses;
}

/** Replaces the targets of requests by the path that the app serves. */
const replaceTargets = (text: string) => text.replaceAll(/^([A-Z]+) \/[^ ]* /gm, "$1 /hello ");

Deno.test("the server of README.md doesn't log above info for inputs of the fuzzers' grammar", async () => {
  await using serving = serve(await loadHelloApp(), { hosts: "any" });
  const random = new Random(37);
  const texts = Array.from({ length: 500 }, () => {
    const text = random.chance(80)
      ? Array.from({ length: 1 + random.below(3) }, () => makeRequest(random)).join("")
      : `${makeRequestPreamble(random)}\r\n\r\n`;
    // Half of the requests get the path of the app, so that it responds with 200 and with 404. Some
    // messages are incomplete.
    const sent = random.chance(50) ? replaceTargets(text) : text;
    return random.chance(80) ? sent : sent.slice(0, random.below(sent.length));
  });
  const responses = await sendEach(serving, texts);
  assertEquals(serving.logger.lines.length, texts.length);
  for (const response of ["200 OK", "404 Not Found"]) {
    const count = responses.split(`HTTP/1.1 ${response}\r\n`).length - 1;
    assert(count > 30, `${count} answers ${response}: too few to say anything`);
  }
});

Deno.test("the server of README.md doesn't log above info for peers that leave at any byte", async () => {
  await using serving = serve(await loadHelloApp());
  const text = "PUT /hello HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloHEAD /hello HTTP/1.1\r\n\r\n";
  for (let at = 0; at <= text.length; at++) {
    const conn = await dial(serving.address);
    await conn.write(new TextEncoder().encode(text.slice(0, at)));
    conn.close();
  }
  // The server handles this request after all others.
  await sendEach(serving, ["GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n"]);
  await serving.server.shutdown();
  for (const [level, line] of serving.logger.lines) assert(!/warn|error/.test(level), line);
});
