/** What onExchange reports about exchanges that are cut, over plain and encrypted connections. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { Body, BodyIter, ConnectionClosedError } from "@degu/degu/base";
import type { Connection, Response } from "@degu/degu/client";
import type { App, ServerOptions } from "@degu/degu/server";
import { type EndpointKind, endpointKinds } from "@degu/testing/endpoints.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { SeenExchanges } from "@degu/testing/seen_exchanges.ts";

/** Starts a server whose exchanges are kept, over plain or encrypted connections, and a client of it. */
async function startKind(kind: EndpointKind, app: App, options?: ServerOptions) {
  const kept = new SeenExchanges();
  const endpoint = await kind.start(app, { server: { onExchange: kept.onExchange, ...options } });
  return Object.assign(endpoint, { next: () => kept.next() });
}

type Setup = Awaited<ReturnType<typeof startKind>>;

const MiB = 1048576;
const TOTAL = 1024 * MiB;
const never = () => new Promise<never>(() => {});

/** Pieces of a body, the last of which never comes. */
async function* pieces(...sizes: number[]) {
  for (const size of sizes) yield new Uint8Array(size);
  await never();
}

function* endless() {
  const piece = new Uint8Array(MiB);
  for (let i = 0; i < TOTAL / MiB; i++) yield piece;
}

/** Reads so much of a response's body. */
async function readPart(connection: Connection, bytes: number): Promise<void> {
  const { body } = await connection.get("/");
  assertInstanceOf(body, Body);
  let missing = bytes;
  while (missing > 0) missing -= (await body.read(missing)).length;
}

/** How many bytes a response's body has. */
async function readAll({ body }: Response): Promise<number | undefined> {
  return (await body?.bytes())?.length;
}

/** Begins an upload of 100 bytes that sends 12 and then nothing, until it is aborted or disposed of. */
async function beginUpload({ client }: Setup) {
  const connection = await client.connect();
  const controller = new AbortController();
  const { signal } = controller;
  const sending = connection.put("/", {}, new BodyIter(pieces(5, 7), 100), { signal });
  sending.catch(() => {});
  const abort = () => controller.abort(new Deno.errors.TimedOut("too slow"));
  return { abort, [Symbol.dispose]: abort };
}

for (const each of endpointKinds.filter(({ name }) => /^(TLS over )?IPv4$/.test(name))) {
  const kind = each.name;
  const start = (app: App, options?: ServerOptions) => startKind(each, app, options);

  Deno.test(`${kind}: a peer that disconnects during a download`, async () => {
    await using setup = await start(() => [200, "OK", {}, new BodyIter(endless(), TOTAL)]);
    const connection = await setup.client.connect();
    await readPart(connection, 3 * MiB);
    connection.close();
    const { status, responseBytes, firstByteMs, totalMs, error } = await setup.next();
    assertEquals(status, 200);
    assert(responseBytes >= 3 * MiB && responseBytes < TOTAL, `${responseBytes} bytes`);
    assert(firstByteMs !== null && firstByteMs <= totalMs);
    assertInstanceOf(error, Error);
  });

  Deno.test(`${kind}: a session that is closed during a download`, async () => {
    const reason = new Error("forgotten");
    await using setup = await start(() => [200, "OK", {}, new BodyIter(pieces(5, 7), 100)]);
    using connection = await setup.client.connect();
    await readPart(connection, 12);
    for (const session of setup.server.sessions) session.close(reason);
    const { status, responseBytes, error } = await setup.next();
    assertEquals([status, responseBytes], [200, 12]);
    assertStrictEquals(error, reason);
  });

  Deno.test(`${kind}: a session that is closed during an upload`, async () => {
    const reason = new Error("forgotten");
    await using setup = await start(async (request, session) => {
      await (request.body as Body).read(9);
      session.close(reason);
      return [200, "OK", {}, null];
    });
    using _ = await beginUpload(setup);
    const { status, requestBytes, responseBytes, error } = await setup.next();
    assertEquals([status, requestBytes, responseBytes], [null, 9, 0]);
    assertStrictEquals(error, reason);
  });

  Deno.test(`${kind}: a client that cancels during an upload`, async () => {
    const read = Promise.withResolvers<void>();
    await using setup = await start(async (request) => {
      const body = request.body as Body;
      await body.read(12);
      read.resolve();
      return [200, "OK", {}, await body.bytes()];
    });
    using upload = await beginUpload(setup);
    await within(read.promise, "the server reads");
    upload.abort();
    const { status, requestBytes, firstByteMs, error } = await setup.next();
    assertEquals([status, requestBytes, firstByteMs], [null, 12, null]);
    assertInstanceOf(error, Error);
  });

  Deno.test(`${kind}: a client that pauses for too long during an upload`, async () => {
    const app: App = async (request) => [200, "OK", {}, await request.body!.bytes()];
    await using setup = await start(app, { timeout: 0.3 });
    using _ = await beginUpload(setup);
    const { status, requestBytes, error } = await setup.next();
    assertEquals([status, requestBytes], [null, 12]);
    assertInstanceOf(error, Deno.errors.TimedOut);
  });

  Deno.test(`${kind}: shutdown lets an exchange finish, close aborts it`, async () => {
    for (const how of ["shutdown", "close"] as const) {
      const called = Promise.withResolvers<void>();
      const answer = Promise.withResolvers<void>();
      await using setup = await start(async () => {
        called.resolve();
        await answer.promise;
        return [200, "OK", {}, new Uint8Array(5)];
      });
      const received = setup.client.request("GET", "/").then(readAll, () => null);
      await within(called.promise, "the app is called");
      const stopped = setup.server[how]();
      answer.resolve();
      await stopped;
      const { status, responseBytes, error } = await setup.next();
      if (how === "shutdown") assertEquals([status, responseBytes, error], [200, 5, null]);
      else {
        assertEquals([status, responseBytes], [null, 0]);
        assertInstanceOf(error, ConnectionClosedError);
      }
      assertEquals(await received, status === null ? null : 5);
    }
  });
}
