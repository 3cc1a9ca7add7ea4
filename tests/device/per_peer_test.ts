/** An app of its own for each peer. */
import { type App, EmptyPreambleError, reply, Router, wrapApp } from "@degu/degu";
import { type Device, type Peer, peerOf, perPeer } from "@degu/degu/device";
import { callApp, mkreq, TempDevices } from "@degu/degu/misc";
import { assertTypeError, callWith, rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { assertEquals, assertRejects } from "@std/assert";

const ask = async (app: App, peer: string) => {
  const { body } = await callApp(app, mkreq("GET", "/"), { peer });
  return new TextDecoder().decode(body as Uint8Array);
};

/** An app that counts, and says when it is disposed of. */
function counting(name: string, disposed: string[], how: symbol = Symbol.asyncDispose): App {
  let requests = 0;
  return {
    handle: () => reply(200, `${name} ${++requests}`),
    [how]: () => void disposed.push(name),
  };
}

Deno.test("perPeer makes an app for each peer at its first request, and keeps it", async () => {
  const made: string[] = [];
  await using app = perPeer((peer) => {
    made.push(peer.name);
    return counting(peer.name, []);
  });
  assertEquals(made, []);
  const asked = [await ask(app, "a"), await ask(app, "b"), await ask(app, "a")];
  assertEquals([asked, made], [["a 1", "b 1", "a 2"], ["a", "b"]]);
});

Deno.test("perPeer makes another app for a peer that is renamed, so that rules by name hold at once", async () => {
  await using devices = await TempDevices.create("gateway", "phone");
  const { gateway, phone } = devices.devices;
  const disposed: string[] = [];
  const asked: string[] = [];
  const app = perPeer(({ name }) => ({
    handle: () => reply(200, name),
    onConnect: () => {
      asked.push(name);
      return name !== "stranger";
    },
    [Symbol.dispose]: () => void disposed.push(name),
  }));
  await using server = await gateway.serve(["127.0.0.1", 0], app);
  const client = await phone.client("gateway", { addresses: [server.address] });
  using connection = await client.connect();
  const textOf = async () => await (await connection.get("/")).text();
  assertEquals(await textOf(), "phone");
  await gateway.rename("phone", "tablet");
  assertEquals([await textOf(), disposed], ["tablet", ["phone"]]);
  await gateway.rename("tablet", "stranger");
  await assertRejects(() => connection.get("/"));
  assertEquals([asked, disposed], [["phone", "tablet", "stranger"], ["phone", "tablet"]]);
});

Deno.test("perPeer makes one app for two requests at once", async () => {
  const made: string[] = [];
  const begun = Promise.withResolvers<void>();
  await using app = perPeer(async (peer) => {
    made.push(peer.name);
    await begun.promise;
    return counting(peer.name, []);
  });
  const asking = [ask(app, "a"), ask(app, "a")];
  begun.resolve();
  assertEquals([(await Promise.all(asking)).sort(), made], [["a 1", "a 2"], ["a"]]);
});

Deno.test("perPeer: an error of make is the request's, and the next request tries again", async () => {
  let attempts = 0;
  const apps: unknown[] = [new Error("full"), undefined, { handle: 5 }];
  await using app = perPeer(() => {
    const made = apps[attempts++];
    if (made instanceof Error) throw made;
    return attempts > apps.length ? () => reply(200, "made") : made as App;
  });
  await assertRejects(() => ask(app, "a"), Error, "full");
  await assertRejects(() => ask(app, "a"), TypeError, "make()");
  await assertRejects(() => ask(app, "a"), TypeError, "make()");
  assertEquals([await ask(app, "a"), await ask(app, "a"), attempts], ["made", "made", 4]);
});

Deno.test("perPeer disposes of all apps with itself, also below Router and wrapApp", async () => {
  for (const how of [Symbol.asyncDispose, Symbol.dispose]) {
    const disposed: string[] = [];
    const app = perPeer((peer) => counting(peer.name, disposed, how));
    const outer = wrapApp(new Router({ a: app, b: app }), (next, ...rest) => next(...rest));
    for (const peer of ["a", "b"]) await callApp(outer, mkreq("GET", `/${peer}`), { peer });
    await outer[Symbol.asyncDispose]!();
    assertEquals(disposed.sort(), ["a", "b"]);
    await assertRejects(() => ask(app, "a"), Error, "disposed");
    await outer[Symbol.asyncDispose]!();
    assertEquals(disposed.length, 2);
  }
});

Deno.test("perPeer: the app that is made while the whole is disposed of is disposed of, too", async () => {
  const disposed: string[] = [];
  const begun = Promise.withResolvers<void>();
  const app = perPeer(async (peer) => {
    await begun.promise;
    return counting(peer.name, disposed);
  });
  const asking = ask(app, "a");
  const disposing = app[Symbol.asyncDispose]();
  begun.resolve();
  await disposing;
  assertEquals([await asking, disposed], ["a 1", ["a"]]);
});

Deno.test("perPeer disposes of an app once, after its requests, and of others without waiting", async () => {
  const disposed: string[] = [];
  const gate = Promise.withResolvers<void>();
  const goneB = Promise.withResolvers<void>();
  const app = perPeer((peer) => ({
    handle: async () => {
      if (peer.name === "a") await gate.promise;
      return reply(200, disposed.includes(peer.name) ? "disposed" : "in use");
    },
    [Symbol.dispose]: () => {
      disposed.push(peer.name);
      if (peer.name === "b") goneB.resolve();
    },
  }));
  await ask(app, "b");
  const asking = ask(app, "a");
  const disposals = [app[Symbol.asyncDispose](), app[Symbol.asyncDispose]()];
  await within(goneB.promise, "the disposal of b");
  assertEquals(disposed, ["b"]);
  gate.resolve();
  assertEquals(await asking, "in use");
  await Promise.all(disposals);
  assertEquals(disposed, ["b", "a"]);
});

Deno.test("perPeer: a make that never settles keeps no other app from being disposed of", async () => {
  const gone = Promise.withResolvers<void>();
  const app = perPeer((peer) => {
    if (peer.name === "a") return new Promise<never>(() => {});
    return { handle: () => reply(200), [Symbol.dispose]: () => gone.resolve() };
  });
  ask(app, "a");
  await ask(app, "b");
  app[Symbol.asyncDispose]();
  await within(gone.promise, "the disposal of b");
});

Deno.test("perPeer: every app is disposed of, even if the disposal of another fails", async () => {
  const disposed: string[] = [];
  const app = perPeer((peer) => ({
    handle: () => reply(200),
    [Symbol.dispose]: () => {
      disposed.push(peer.name);
      throw new Error(`${peer.name} is stuck`);
    },
  }));
  await ask(app, "a");
  await assertRejects(() => app[Symbol.asyncDispose](), Error, "a is stuck");
  const both = perPeer(() => ({
    handle: () => reply(200),
    [Symbol.dispose]: () =>
      void (disposed.push("both"),
        (() => {
          throw new Error("stuck");
        })()),
  }));
  for (const peer of ["a", "b"]) await ask(both, peer);
  await assertRejects(() => both[Symbol.asyncDispose](), AggregateError);
  assertEquals(disposed, ["a", "both", "both"]);
});

async function serve(device: Device, app: App) {
  const server = device.listen(["127.0.0.1", 0], app);
  server.serveForever();
  await server.ready;
  return server;
}

Deno.test("perPeer keeps an app over sessions, and disposes of it when its peer is forgotten", async () => {
  await using temp = await TempDevices.create("camera", "viewer", "recorder");
  const { camera, viewer, recorder } = temp.devices;
  const gone = Promise.withResolvers<string>();
  await using app = perPeer((peer: Peer) => {
    let requests = 0;
    return {
      handle: (_request, session) => reply(200, `${peerOf(session).name} ${++requests}`),
      [Symbol.asyncDispose]: () => Promise.resolve(gone.resolve(peer.name)),
    };
  });
  await using server = await serve(camera, app);
  const said = async (device: Device) => {
    const client = await device.client("camera", { addresses: [server.address] });
    const { body } = await client.request("GET", "/");
    return await body?.text();
  };
  assertEquals([await said(viewer), await said(viewer)], ["viewer 1", "viewer 2"]);
  assertEquals(await said(recorder), "recorder 1");
  await camera.forget("viewer");
  assertEquals(await gone.promise, "viewer");
  assertEquals(await said(recorder), "recorder 2");
  // A peer that is paired again begins anew.
  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
  await viewer.join(invitation.line);
  assertEquals(await said(viewer), "viewer 1");
});

Deno.test("perPeer: a forgotten peer's app is disposed of once, after its requests, and not used again", async () => {
  for (const isMaking of [true, false]) {
    await using temp = await TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const disposed = Promise.withResolvers<void>();
    const events: string[] = [];
    const wait = () => {
      begun.resolve();
      return gate.promise;
    };
    const app = perPeer(async () => {
      if (isMaking) await wait();
      return {
        handle: async () => {
          if (!isMaking) await wait();
          events.push("handled");
          return reply(200);
        },
        [Symbol.dispose]: () => {
          events.push("disposed");
          disposed.resolve();
        },
      };
    });
    await using server = await serve(camera, app);
    const client = await viewer.client("camera", { addresses: [server.address] });
    const asking = rejectionOf(client.request("GET", "/"), "a request of a forgotten peer");
    await begun.promise;
    await camera.forget("viewer");
    const disposals = [app[Symbol.asyncDispose](), app[Symbol.asyncDispose]()];
    await asking;
    assertEquals(events, []);
    gate.resolve();
    await disposed.promise;
    await Promise.all(disposals);
    assertEquals(events, isMaking ? ["disposed"] : ["handled", "disposed"]);
  }
});

Deno.test("perPeer asks the onConnect of a peer's app before the first request of each session", async () => {
  await using temp = await TempDevices.create("camera", "viewer", "recorder");
  const { camera, viewer, recorder } = temp.devices;
  const asked: string[] = [];
  await using app = perPeer(({ name }) => ({
    handle: () => reply(200, name),
    onConnect: (session, sock) => {
      asked.push(`${peerOf(session).name} ${typeof sock.read}`);
      return name === "viewer";
    },
  }));
  await using server = await serve(camera, app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  for (let i = 0; i < 2; i++) {
    using conn = await client.connect();
    for (let j = 0; j < 2; j++) assertEquals(await (await conn.get("/")).body?.text(), "viewer");
  }
  assertEquals(asked, ["viewer function", "viewer function"]);
  const stranger = await recorder.client("camera", { addresses: [server.address] });
  await assertRejects(() => stranger.request("GET", "/"), EmptyPreambleError);
});

Deno.test("perPeer needs a function, and the server of a device", async () => {
  for (const make of [undefined, null, {}, { handle: () => reply(200) }]) {
    assertTypeError(() => callWith(perPeer, make), Deno.inspect(make));
  }
  await using app = perPeer(() => () => reply(200));
  await assertRejects(() => callApp(app, mkreq("GET", "/")), TypeError, "DeviceServer");
});
