/** Separate apps for each peer. */
import { type App, EmptyPreambleError, reply } from "@degu/degu";
import { type Device, type Peer, peerOf, perPeer } from "@degu/device";
import { callApp, mkreq } from "@degu/degu/misc";
import { record, setUpPeers } from "@degu/testing/device_pairs.ts";
import { assertTypeError, callWith, catchRejection } from "@degu/testing/expectations.ts";
import { makePeerSession } from "@degu/testing/peer_sessions.ts";
import { assertEquals, assertRejects } from "@std/assert";

/** Opens a camera and its peers, without the exchange of a pairing. */
async function openDevices<Name extends string>(...names: readonly Name[]) {
  const setup = await setUpPeers(...names);
  const { camera, others } = setup;
  for (const other of others) {
    await record(camera, other);
    await record(other, camera);
  }
  const peers = Object.fromEntries(others.map((other) => [other.name, other]));
  return {
    ...peers as Record<Name, Device>,
    camera,
    [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose](),
  };
}

const ask = async (app: App, peer: string) => {
  return await (await callApp(app, mkreq("GET", "/"), { session: makePeerSession(peer) })).text();
};

/** An app that counts. */
function makeCountingApp(name: string): App {
  let requests = 0;
  return () => reply(200, `${name} ${++requests}`);
}

Deno.test("perPeer makes an app for each peer at its first request, and reuses the app", async () => {
  const names: string[] = [];
  const app = perPeer((peer) => {
    names.push(peer.name);
    return makeCountingApp(peer.name);
  });
  assertEquals(names, []);
  const replies = [await ask(app, "a"), await ask(app, "b"), await ask(app, "a")];
  assertEquals([replies, names], [["a 1", "b 1", "a 2"], ["a", "b"]]);
});

Deno.test("perPeer makes a new app for a renamed peer, so that rules by name apply at once", async () => {
  await using devices = await openDevices("phone");
  const { camera, phone } = devices;
  const names: string[] = [];
  const app = perPeer(({ name }) => ({
    handle: () => reply(200, name),
    onConnect: () => {
      names.push(name);
      return name !== "stranger";
    },
  }));
  await using server = await camera.serve(["127.0.0.1", 0], app);
  const client = await phone.client("camera", { addresses: [server.address] });
  using connection = await client.connect();
  const textOf = async () => await (await connection.get("/")).text();
  assertEquals(await textOf(), "phone");
  await camera.rename("phone", "tablet");
  assertEquals(await textOf(), "tablet");
  await camera.rename("tablet", "stranger");
  await assertRejects(() => connection.get("/"));
  assertEquals(names, ["phone", "tablet", "stranger"]);
});

Deno.test("perPeer makes one app for two simultaneous requests", async () => {
  const names: string[] = [];
  const makeStarted = Promise.withResolvers<void>();
  const app = perPeer(async (peer) => {
    names.push(peer.name);
    await makeStarted.promise;
    return makeCountingApp(peer.name);
  });
  const asking = [ask(app, "a"), ask(app, "a")];
  makeStarted.resolve();
  assertEquals([(await Promise.all(asking)).sort(), names], [["a 1", "a 2"], ["a"]]);
});

Deno.test("perPeer: an error of make fails the request, and the next request calls make again", async () => {
  let attempts = 0;
  const apps: unknown[] = [new Error("full"), undefined, { handle: 5 }];
  const app = perPeer(() => {
    const result = apps[attempts++];
    if (result instanceof Error) throw result;
    return attempts > apps.length ? () => reply(200, "made") : result as App;
  });
  await assertRejects(() => ask(app, "a"), Error, "full");
  await assertRejects(() => ask(app, "a"), TypeError, "make()");
  await assertRejects(() => ask(app, "a"), TypeError, "make()");
  assertEquals([await ask(app, "a"), await ask(app, "a"), attempts], ["made", "made", 4]);
});

const serve = (device: Device, app: App) => device.serve(["127.0.0.1", 0], app);

Deno.test("perPeer keeps an app across sessions, until its peer is forgotten", async () => {
  await using devices = await openDevices("viewer", "recorder");
  const { camera, viewer, recorder } = devices;
  const app = perPeer((peer: Peer) => makeCountingApp(peer.name));
  await using server = await serve(camera, app);
  const replyTo = async (device: Device) => {
    const client = await device.client("camera", { addresses: [server.address] });
    const { body } = await client.request("GET", "/");
    return await body?.text();
  };
  assertEquals([await replyTo(viewer), await replyTo(viewer)], ["viewer 1", "viewer 2"]);
  assertEquals(await replyTo(recorder), "recorder 1");
  await camera.forget("viewer");
  assertEquals(await replyTo(recorder), "recorder 2");
  // A peer that is paired again gets a new app.
  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
  await viewer.join(invitation.line);
  assertEquals(await replyTo(viewer), "viewer 1");
});

Deno.test("perPeer: an app whose peer is forgotten while it is made is not used", async () => {
  await using devices = await openDevices("viewer");
  const { camera, viewer } = devices;
  const makeStarted = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  let handled = 0;
  const app = perPeer(async () => {
    makeStarted.resolve();
    await gate.promise;
    return () => reply(200, `${++handled}`);
  });
  await using server = await serve(camera, app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  const asking = catchRejection(client.request("GET", "/"), "a request of a forgotten peer");
  await makeStarted.promise;
  await camera.forget("viewer");
  await asking;
  gate.resolve();
  await server.shutdown();
  assertEquals(handled, 0);
});

Deno.test("perPeer calls the onConnect of a peer's app before the first request of each session", async () => {
  await using devices = await openDevices("viewer", "recorder");
  const { camera, viewer, recorder } = devices;
  const sessions: string[] = [];
  const app = perPeer(({ name }) => ({
    handle: () => reply(200, name),
    onConnect: (session, sock) => {
      sessions.push(`${peerOf(session).name} ${typeof sock.read}`);
      return name === "viewer";
    },
  }));
  await using server = await serve(camera, app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  for (let i = 0; i < 2; i++) {
    using conn = await client.connect();
    for (let j = 0; j < 2; j++) assertEquals(await (await conn.get("/")).body?.text(), "viewer");
  }
  assertEquals(sessions, ["viewer function", "viewer function"]);
  const stranger = await recorder.client("camera", { addresses: [server.address] });
  await assertRejects(() => stranger.request("GET", "/"), EmptyPreambleError);
});

Deno.test("perPeer needs a function, and the server of a device", async () => {
  for (const make of [undefined, null, {}, { handle: () => reply(200) }]) {
    assertTypeError(() => callWith(perPeer, make), Deno.inspect(make));
  }
  const app = perPeer(() => () => reply(200));
  await assertRejects(() => callApp(app, mkreq("GET", "/")), TypeError, "DeviceServer");
});
