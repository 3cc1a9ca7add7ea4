/**
 * Drops references to connections and checks that they are closed; run with `--v8-flags=--expose-gc`.
 * Prints a JSON array of findings.
 */

import { createFetch } from "@degu/degu";
import type { Response } from "@degu/degu/base";
import { Client, type ClientOptions, type RequestOptions } from "@degu/degu/client";
import { TempServer } from "@degu/degu/misc";
import { type Request, Server } from "@degu/degu/server";

declare const gc: () => void;

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const address = ["127.0.0.1", listener.addr.port] as const;
const findings: (readonly [what: string, found: unknown])[] = [];

/** Collects garbage until the promise settles, or for a while; returns whether it has settled. */
async function settlesByCollection(promise: Promise<unknown>, rounds = 60): Promise<boolean> {
  let hasSettled = false;
  promise.then(() => hasSettled = true);
  for (let i = 0; i < rounds && !hasSettled; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return hasSettled;
}

async function waitForClose(peer: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(10000);
  try {
    while (await peer.read(buffer) !== null);
  } catch (error) {
    // The caller has closed the connection during the read.
    if (!(error instanceof Deno.errors.Interrupted)) throw error;
  }
}

const report = (what: string, found: unknown) => void findings.push([what, found]);

/** Whether a connection stays open although garbage is collected. */
const staysOpen = async (peer: Deno.Conn) => !await settlesByCollection(waitForClose(peer), 10);

const bytes = (text: string) => new TextEncoder().encode(text);

/** Makes a request over a separate connection. */
const ask = (options?: RequestOptions) => async (client: Client) =>
  await (await client.connect()).get("/", {}, options);

/** Responds to a request; resolves to the response and the server's side of its connection. */
async function respond<T = Response>(
  responseText: string,
  request: (client: Client) => Promise<T> = ask() as () => Promise<T>,
) {
  const responding = request(new Client(address));
  const peer = await listener.accept();
  await peer.read(new Uint8Array(10000));
  await peer.write(bytes(responseText));
  return { response: await responding, peer };
}

/** Connects without a request. */
async function connectOnly(options: ClientOptions = {}): Promise<{ peer: Deno.Conn }> {
  await new Client(address, options).connect();
  return { peer: await listener.accept() };
}

const half = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe";
/** Longer than the small body of a one-shot request, which is read immediately. */
const long = half.replace("5", "65537");
const wholeChunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
const { signal } = new AbortController();

/** The objects that close when they are garbage collected, each with the peer of its connection. */
const forgotten: Readonly<Record<string, () => Promise<{ peer: Deno.Conn }>>> = {
  "a connection that was never used closes": connectOnly,
  "a connection that was used closes": () =>
    respond("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
  "a connection whose body was read closes": async () => {
    const { response, peer } = await respond(half + "llo");
    await response.body?.read();
    return { peer };
  },
  "a connection and its unread body close": () => respond(half),
  "a one-shot request and its unread body close": () =>
    respond(long, (client) => client.request("GET", "/")),
  "a connection whose signal lives on closes": () => connectOnly({ signal }),
  "a body whose request's signal lives on closes": () => respond(half, ask({ signal })),
  "a response of fetch whose signal lives on closes": () =>
    respond(long, (client) => createFetch(client)("/", { signal })),
};
for (const [label, make] of Object.entries(forgotten)) {
  const peer = await (async () => (await make()).peer)();
  report(label, await settlesByCollection(waitForClose(peer)));
  peer.close();
}
{
  // The sink is unreachable, so only the signal references the waiting operation.
  const aborter = new AbortController();
  const abortReason = Promise.withResolvers<unknown>();
  const peer = await (async () => {
    const { response, peer } = await respond(half, ask({ signal: aborter.signal }));
    response.body?.writeTo({ write: () => new Promise(() => {}) }).catch(abortReason.resolve);
    return peer;
  })();
  for (let i = 0; i < 20; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  aborter.abort("enough");
  const timeout = new Promise((resolve) => setTimeout(resolve, 1000, "nothing"));
  const outcome = await Promise.race([abortReason.promise, timeout]);
  report("what waits for a sink that nobody knows is aborted", outcome === "enough");
  peer.close();
}
{
  await using server = new Server(
    ["127.0.0.1", 0],
    () => [200, "OK", {}, new Uint8Array(5)],
    { maxRequests: Infinity },
  );
  const serving = server.serveForever();
  const client = new Client(server.address);
  using connection = await client.connect();
  const fetch = createFetch(connection);
  const requestMakers: Readonly<Record<string, () => Promise<unknown>>> = {
    "by a connection": async () => (await connection.get("/", {}, { signal })).body?.text(),
    "by fetch": async () => (await fetch("/", { signal })).text(),
  };
  for (const [label, make] of Object.entries(requestMakers)) {
    const heap = async (requests: number) => {
      for (let i = 0; i < requests; i++) await make();
      for (let i = 0; i < 3; i++) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        gc();
      }
      return Deno.memoryUsage().heapUsed;
    };
    const heapBefore = await heap(1000);
    const grown = await heap(3000) - heapBefore;
    report(`requests ${label} leave nothing on a signal`, grown < 3000 * 50);
  }
  server.close();
  await serving;
}

/** Checks that a part of a response keeps its connection alive, and receives later bytes. */
async function keeps<Taken>(
  label: string,
  take: (response: Response) => Taken,
  read: (taken: Taken) => Promise<string> | undefined,
): Promise<void> {
  const { taken, peer } = await respond(half).then(({ response, peer }) => {
    return { taken: take(response), peer };
  });
  report(`${label} keeps its connection`, await staysOpen(peer));
  await peer.write(bytes("llo"));
  report(`${label} gets the rest`, await read(taken) === "hello");
  peer.close();
}
await keeps("a body", ({ body }) => body, (body) => body?.text());
await keeps("a stream", ({ body }) => body!.readable, (stream) => {
  return new globalThis.Response(stream).text();
});
await keeps("a read that waits", ({ body }) => body?.text(), (reading) => reading);
for (const [kind, responseText] of [["length", `${half}llo`], ["chunked", wholeChunked]] as const) {
  const heldConnections: unknown[] = [];
  const peer = await (async () => {
    const { response, peer } = await respond(responseText);
    await response.body?.text();
    heldConnections.push(response);
    return peer;
  })();
  const isClosed = await settlesByCollection(waitForClose(peer));
  report(`a ${kind} body that is consumed keeps nothing`, isClosed && heldConnections.length === 1);
  peer.close();
}
{
  // The program keeps only the promise of the response.
  const responding = new Client(address).connect().then((connection) => connection.get("/slow"));
  const peer = await listener.accept();
  await peer.read(new Uint8Array(10000));
  report("a request in flight keeps its connection", await staysOpen(peer));
  await peer.write(bytes(`${half}llo`));
  report("a request in flight gets its response", await (await responding).text() === "hello");
  peer.close();
}
{
  const connection = await new Client(address).connect();
  const peer = await listener.accept();
  report("a connection that is held stays", await staysOpen(peer));
  connection.close();
  peer.close();
}
{
  const requests: WeakRef<Request>[] = [];
  await using server = new Server(["127.0.0.1", 0], async (request) => {
    requests.push(new WeakRef(request));
    await request.body?.bytes();
    return [200, "OK", {}, null];
  });
  const serving = server.serveForever();
  using connection = await new Client(server.address).connect();
  const signals: WeakRef<AbortSignal>[] = [];
  const makeRequest = async (body: Uint8Array) => {
    const { signal } = new AbortController();
    signals.push(new WeakRef(signal));
    await connection.put("/", {}, body, { signal });
  };
  await makeRequest(bytes("a"));
  for (const [label, references] of Object.entries({ server: requests, client: signals })) {
    const collected = (async () => {
      while (references[0]!.deref() !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    report(
      `an idle connection of a ${label} drops its request`,
      await settlesByCollection(collected),
    );
  }
  server.close();
  await serving;
}
{
  const app = () => [200, "OK", {}, null] as const;
  const { address: serverAddress } = await TempServer.start(["127.0.0.1", 0], null, app);
  const port = Number(serverAddress[1]);
  const listenAgain = (async () => {
    for (;;) {
      try {
        Deno.listen({ hostname: "127.0.0.1", port }).close();
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  })();
  report("a TempServer that was forgotten ends", await settlesByCollection(listenAgain, 200));
}

listener.close();
console.log(JSON.stringify(findings));
Deno.exit();
