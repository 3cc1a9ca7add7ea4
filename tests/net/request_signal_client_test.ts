/** Aborting a client's request, and the listeners on its signal. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { Body } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { connect } from "@degu/testing/connected.ts";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { assertReason, half, never, reason, withAbort } from "@degu/testing/aborts.ts";

Deno.test("client request: if already aborted, no connection is made", async () => {
  using server = new RawServer();
  const tracked = new TrackedStream([new Uint8Array(5)]);
  const body = new Body(tracked.stream, 5);
  const client = new Client(server.address);
  const signal = AbortSignal.abort(reason);
  await assertReason(client.request("PUT", "/", {}, body, { signal }), reason);
  assertEquals(tracked.cancelled, [reason]);
  const { signal: soon, abort } = withAbort();
  const responding = client.request("GET", "/", {}, null, { signal: soon });
  abort(reason);
  await assertReason(responding, reason, "in the same turn");
  await assertReason(client.connect(undefined, { signal }), reason, "connect");
  await assertReason(client.createSocket({ signal }), reason, "createSocket");
});

Deno.test("client request: aborted in onConnect, and while it waits", async (t) => {
  for (const phase of ["onConnect", "waiting", "reading"]) {
    await t.step(phase, async () => {
      using server = new RawServer();
      const { signal, abort } = withAbort();
      const connected = Promise.withResolvers<void>();
      const client = new Client(server.address, {
        onConnect: () => {
          connected.resolve();
          return phase === "onConnect" ? never() : true;
        },
      });
      const responding = client.request("GET", "/", {}, null, { signal });
      responding.catch(() => {});
      const peer = await server.accept();
      await connected.promise;
      if (phase !== "onConnect") await peer.readPreamble();
      if (phase === "reading") await peer.send(half);
      const failing = phase === "reading" ? (await responding).body!.text() : responding;
      const rejecting = assertReason(failing, reason);
      abort(reason);
      await rejecting;
      await peer.assertClosedSilently();
    });
  }
});

Deno.test("SSL client request: aborted in the handshake, the socket closes", async () => {
  await using pki = await TempPKI.create();
  using server = new RawServer();
  const { signal, abort } = withAbort();
  const client = new SSLClient(pki.clientSslconfig, server.address);
  const responding = client.request("GET", "/", {}, null, { signal });
  const rejecting = assertReason(responding, reason);
  const peer = await server.accept();
  // The beginning of a handshake, to which nobody answers.
  await peer.readExactly(5);
  abort(reason);
  await rejecting;
  await peer.readToEnd();
});

for (const { name, available, start } of endpointKinds) {
  Deno.test({
    name: `${name}: aborted while it waits; another connection is served`,
    ignore: !available,
    fn: async () => {
      const arrived = Promise.withResolvers<void>();
      await using endpoint = await start(async ({ path }, session) => {
        if (path[0] !== "slow") return [200, "OK", {}, null];
        arrived.resolve();
        await new Promise((resolve) => session.signal.addEventListener("abort", resolve));
        return [200, "OK", {}, null];
      });
      const { signal, abort } = withAbort();
      using conn = await endpoint.client.connect();
      assertEquals((await conn.get("/", {}, { signal })).status, 200);
      const rejecting = assertReason(conn.get("/slow", {}, { signal }), reason, name);
      await within(arrived.promise, "the request arrives");
      abort(reason);
      await rejecting;
      assert(conn.closed);
      assertEquals((await endpoint.client.request("GET", "/")).status, 200);
    },
  });
}

Deno.test("AbortSignal.timeout limits a request", async () => {
  using connected = await connect();
  const signal = AbortSignal.timeout(20);
  const error = await rejectionOf(connected.conn.get("/", {}, { signal }), "a time-out");
  assertStrictEquals(error, signal.reason);
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "TimeoutError");
});

/** A signal that counts who listens. */
function counted(signal: AbortSignal) {
  const count = { now: 0, most: 0 };
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    count.most = Math.max(count.most, ++count.now);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    count.now--;
    Reflect.apply(removeEventListener, signal, args);
  };
  return count;
}

Deno.test("no listener remains on a signal after thousands of requests", async () => {
  await using serving = serve(async ({ path, body }) => {
    await body?.read();
    const length = Number(path[0]);
    return [200, "OK", {}, length < 0 ? null : new Uint8Array(length)];
  }, { maxRequests: Infinity });
  const { signal } = new AbortController();
  const count = counted(signal);
  const options = { signal };
  const client = serving.makeClient();
  using conn = await client.connect();
  for (let i = 0; i < 2000; i++) {
    const length = [-1, 0, 5][i % 3]!;
    const { body } = await conn.put(`/${length}`, {}, new Uint8Array(i % 2), options);
    await body?.read();
    assertEquals(count.now, 0);
  }
  for (let i = 0; i < 30; i++) {
    // Read, cancelled, and left when the connection closes.
    const { body } = await client.request("GET", "/5", {}, null, options);
    if (i % 3 === 0) await body!.text();
    else if (i % 3 === 1) await body!.cancel();
    else await body!.read(3).then(() => body!.cancel());
    assertEquals(count.now, 0);
    using other = await client.connect(undefined, options);
    await other.get("/5", {}, options);
    other.close();
    await rejectionOf(conn.get("bad uri", {}, options), "a mistake");
    assertEquals(count.now, 0);
  }
  using server = new RawServer();
  const failing = new Client(server.address).request("GET", "/", {}, null, options);
  const rejection = rejectionOf(failing, "a peer that closes");
  (await server.accept()).close();
  await rejection;
  assertEquals(count.now, 0);
  assert(count.most <= 2, `${count.most} at a time`);
});

Deno.test("no listener remains on the client's signal either", async () => {
  await using serving = serve(() => [200, "OK", {}, new Uint8Array(5)]);
  const ofClient = new AbortController().signal;
  const ofRequest = new AbortController().signal;
  const counts = [counted(ofClient), counted(ofRequest)];
  const client = serving.makeClient({ signal: ofClient });
  for (let i = 0; i < 50; i++) {
    const response = await client.request("GET", "/", {}, null, { signal: ofRequest });
    await response.body?.text();
    (await client.createSocket({ signal: ofRequest })).close();
  }
  assertEquals(counts.map(({ now }) => now), [0, 0]);
  assert(counts.every(({ most }) => most > 0));
});
