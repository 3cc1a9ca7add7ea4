/** Devices of one copy of the package, with the apps, servers and clients of another copy. */
import type { App, AppFunction, AppObject, PeerIdentity, Session } from "@degu/degu/server";
import { loadCopies, type PackageCopy } from "@degu/testing/copied_package.ts";
import { authorityOf, identityOf } from "@degu/testing/device_pairs.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";

const { inBothOrders, dispose } = await loadCopies();
Deno.test.afterAll(dispose);
const LOOPBACK = ["127.0.0.1", 0] as const;

/** Makes reading the files of peers fail, as if the process had too many open files. */
function failReads(): Disposable {
  return patch(Deno, "readTextFile", () => () => {
    return Promise.reject(new Error("Too many open files (os error 24)"));
  });
}

/** Removes the file of a peer, as another process does. */
function removePeer(device: { readonly dir: string }, peer: { readonly id: string }): void {
  Deno.removeSync(`${device.dir}/peers/${peer.id}.json`);
}

const checkTrust: (pkg: PackageCopy) => AppFunction = ({ reply }) => async (_request, session) => {
  await session.checkTrusted();
  return reply(200, session.user ?? "");
};

Deno.test(
  "a device's server serves apps of another copy to its peers only",
  inBothOrders(async (first, second) => {
    await using dir = await createTempDir();
    await using temp = await first.TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    const app = second.routes({
      "/files/": new second.FilesApp(dir.path, { write: true }),
      "GET /name": (_request, session) => second.reply(200, first.peerOf(session).name),
      "GET /trust": checkTrust(second),
    });
    await using server = await camera.serve([...LOOPBACK], app);
    const client = await viewer.client("camera", { addresses: [server.address] });
    await using pool = new second.ConnectionPool(client, { maxConnections: 1 });
    assertEquals(await (await pool.get("/name")).text(), "viewer");
    assertEquals(await (await pool.get("/trust")).text(), "viewer");
    assertEquals((await pool.put("/files/a", {}, "1")).status, 201);
    {
      using _failing = failReads();
      assertEquals((await pool.put("/files/a", {}, "2")).status, 503);
    }
    using conn = await client.connect();
    await (await conn.get("/name")).discard();
    using otherConn = await client.connect();
    await (await otherConn.get("/name")).discard();
    removePeer(camera, viewer);
    // The server ends the sessions as soon as a check has found that the peer isn't trusted.
    const statuses = await Promise.allSettled([
      conn.put("/files/a", {}, "2"),
      otherConn.get("/trust"),
    ]);
    for (const result of statuses) {
      assert(result.status === "rejected" || result.value.status === 403);
    }
    assertEquals(await Deno.readTextFile(`${dir.path}/a`), "1");
    const error: unknown = await assertRejects(() => client.get("/name"));
    assert(error instanceof second.TlsError || error instanceof second.EmptyPreambleError);
  }),
);

Deno.test(
  "a device's server refuses strangers who are clients of another copy",
  inBothOrders(async (first, second) => {
    await using temp = await first.TempDevices.create("camera", "viewer");
    await using otherTemp = await second.TempDevices.create("camera");
    const { camera } = temp.devices;
    let requests = 0;
    await using server = await camera.serve([...LOOPBACK], () => first.reply(200, `${++requests}`));
    const { ca } = await authorityOf(camera.dir);
    const identity = await identityOf(otherTemp.devices.camera.dir);
    for (
      const config of [{ ca, checkHostname: false }, { ca, ...identity, checkHostname: false }]
    ) {
      const client = new second.SSLClient(config, server.address);
      const error: unknown = await assertRejects(() => client.get("/"));
      assert(error instanceof first.TlsError || error instanceof first.EmptyPreambleError);
    }
    assertEquals(requests, 0);
  }),
);

Deno.test(
  "a session trusts a peer as long as the device of another copy does",
  inBothOrders(async (first, second) => {
    await using temp = await first.TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    const identities: PeerIdentity[] = [];
    const addIdentity = patch(
      first.Session.prototype,
      "addIdentity",
      (original) =>
        function (this: Session, identity) {
          identities.push(identity);
          original.call(this, identity);
        },
    );
    await using deviceServer = await camera.serve([...LOOPBACK], () => first.reply(200));
    const client = await viewer.client("camera", { addresses: [deviceServer.address] });
    await client.get("/");
    addIdentity[Symbol.dispose]();
    const [identity] = identities;
    const app: AppObject = {
      onConnect(session) {
        session.addIdentity(identity!);
        return { user: "guest" };
      },
      handle: checkTrust(second),
    };
    const logger = new RecordingLogger();
    await using server = await second.Server.start([...LOOPBACK], app, { logger });
    const guest = new second.Client(server.address);
    using conn = await guest.connect();
    assertEquals(await (await conn.get("/")).text(), "guest");
    using unreadConn = await guest.connect();
    await (await unreadConn.get("/")).discard();
    {
      using _failing = failReads();
      assertEquals((await unreadConn.get("/")).status, 503);
      assertEquals((await guest.get("/")).status, 503);
    }
    using removedConn = await guest.connect();
    await (await removedConn.get("/")).discard();
    const [session] = server.sessions;
    const sessionEnded = new Promise((resolve) =>
      session!.signal.addEventListener("abort", resolve)
    );
    removePeer(camera, viewer);
    const result = await removedConn.get("/").then(({ status }) => status, () => "ended");
    assert(result === 403 || result === "ended", `${result}`);
    await withTimeout(sessionEnded, "the session ends");
    assertInstanceOf(session!.signal.reason, second.DeviceError);
    assertEquals(await session!.trust(), "untrusted");
    await assertRejects(() => conn.get("/"));
    await assertRejects(() => guest.get("/"));
    assertEquals(server.sessions.size, 0);
  }),
);

Deno.test(
  "an app for peers refuses the sessions of another copy's device",
  inBothOrders(async (first, second) => {
    await using temp = await first.TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    let calls = 0;
    const makeApp = () => () => second.reply(200, `${++calls}`);
    const apps: App[] = [
      second.perPeer(makeApp),
      (_request, session) => second.reply(200, second.peerOf(session).name),
    ];
    for (const app of apps) {
      await using server = await camera.serve([...LOOPBACK], app, {
        logger: new RecordingLogger(),
      });
      const client = await viewer.client("camera", { addresses: [server.address] });
      assertEquals((await client.get("/")).status, 500);
      for (const { callApp, mkreq } of [first, second]) {
        const session = temp.peerSession("viewer");
        const call = () => callApp(app, mkreq("GET", "/"), { session });
        await assertRejects(call, TypeError, "session: must belong to a DeviceServer");
      }
    }
    assertEquals(calls, 0);
  }),
);

Deno.test(
  "callApp of another copy calls an app with the peer of a device",
  inBothOrders(async (first, second) => {
    await using temp = await first.TempDevices.create("camera", "viewer");
    const app = first.perPeer((peer) => (_request, session) =>
      second.reply(200, `${peer.name} ${first.peerOf(session).name}`)
    );
    const session = temp.peerSession("viewer");
    const response = await second.callApp(app, second.mkreq("GET", "/"), { session });
    assertEquals(await response.text(), "viewer viewer");
  }),
);

Deno.test(
  "pools, proxies and transfers of another copy use the client of a device until it forgets the peer",
  inBothOrders(async (first, second) => {
    await using dir = await createTempDir();
    await Deno.mkdir(`${dir.path}/source`);
    await Deno.writeTextFile(`${dir.path}/source/a`, "a");
    await using temp = await first.TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    const filesApp = new first.FilesApp(`${dir.path}/served`, {
      create: true,
      write: true,
      list: true,
    });
    await using server = await camera.serve([...LOOPBACK], filesApp);
    const client = await viewer.client("camera", { addresses: [server.address] });
    await second.uploadTree(client, `${dir.path}/source`, "/copy/");
    assertEquals(await Deno.readTextFile(`${dir.path}/served/copy/a`), "a");
    await using pool = new second.ConnectionPool(client);
    assertEquals(await (await pool.get("/copy/a")).text(), "a");
    await using proxyApp = new second.ProxyApp(client);
    await using proxy = await second.Server.start([...LOOPBACK], proxyApp, {
      logger: new RecordingLogger(),
    });
    const proxied = new first.Client(proxy.address);
    assertEquals(await (await proxied.get("/copy/a")).text(), "a");

    const lostClient = await viewer.client("camera", { addresses: [["127.0.0.1", 1]] });
    const lost = await assertRejects(() => lostClient.connect(), second.DeviceError);
    assertEquals([lost.code, second.isTransient(lost)], ["UNREACHABLE", true]);

    await viewer.forget("camera");
    const error = await assertRejects(() => pool.get("/copy/a"), second.DeviceError);
    assertEquals(error.code, "FORGOTTEN");
    assertEquals((await proxied.get("/copy/a")).status, 502);
    const download = () => second.downloadTree(client, "/copy/", `${dir.path}/target`);
    await assertRejects(download, second.DeviceError);
  }),
);
