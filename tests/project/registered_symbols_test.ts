/** The registered symbols, by which two copies of the package in one program work together. */
import type * as main from "@degu/degu";
import type { Session } from "@degu/degu/server";
import { loadCopies, type PackageCopy } from "@degu/testing/copied_package.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { listLibraryFiles, readCode } from "@degu/testing/tree.ts";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { open } from "node:fs/promises";

const { inBothOrders, dispose } = await loadCopies();
Deno.test.afterAll(dispose);

async function start(pkg: PackageCopy, app: main.App) {
  const logger = new RecordingLogger();
  const server = await pkg.Server.start(["127.0.0.1", 0], app, { logger });
  return {
    address: server.address,
    logger,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Starts a server whose response has the headers of the request, with `got-` before each name. */
function startEcho(pkg: PackageCopy) {
  return start(pkg, ({ headers }) => {
    const entries = Object.entries(headers).map(([name, value]) => [`got-${name}`, `${value}`]);
    return pkg.reply(200, null, Object.fromEntries(entries));
  });
}

type Row = (first: PackageCopy, second: PackageCopy) => Promise<void> | void;

/** What each symbol does: the first copy makes an object, whose property the second copy reads. */
const rows: Readonly<Record<string, Row>> = {
  "degu.unknown_trust": async (first, second) => {
    await using temp = await first.TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    const app: main.AppFunction = async (_request, session) => {
      await using server = await start(second, {
        onConnect: () => ({
          user: "anna",
          isTrusted: async () => await session.trust() === "trusted",
        }),
        handle: () => second.reply(200),
      });
      const get = async () => (await new second.Client(server.address).get("/")).status;
      const status = await get();
      using _failing = patch(Deno, "readTextFile", () => () => Promise.reject(new Error("EMFILE")));
      return first.reply(200, `${status} ${await get()}`);
    };
    await using server = await camera.serve(["127.0.0.1", 0], app);
    const client = await viewer.client("camera", { addresses: [server.address] });
    assertEquals(await (await client.get("/")).text(), "200 503");
  },
  "degu.connection": async (first, second) => {
    using server = new RawServer();
    const request = catchRejection(new first.Client(server.address).get("/"), "the request");
    const peer = await server.accept();
    await peer.readPreamble();
    peer.close();
    assertEquals(second.describeConnectionError(await request)?.fault, "broken");
    const client = new first.Client(["127.0.0.1", 1]);
    const error = await catchRejection(client.connect(), "the connection");
    assertEquals(second.describeConnectionError(error)?.address, ["127.0.0.1", 1]);
  },
  "degu.standardBodies": async (first, second) => {
    await using dir = await createTempDir();
    await Deno.writeTextFile(`${dir.path}/a`, "text");
    await using server = await start(first, new first.FilesApp(dir.path));
    let count = 0;
    class CountedBody extends second.Body {
      constructor(...args: ConstructorParameters<typeof second.Body>) {
        super(...args);
        count++;
      }
    }
    const bodies = { ...second.bodies, Body: CountedBody };
    const client = new second.Client(server.address, { bodies });
    await first.download(client, "/a", `${dir.path}/copy`);
    assertEquals([await Deno.readTextFile(`${dir.path}/copy`), count], ["text", 0]);
    await (await client.get("/a")).discard();
    assertEquals(count, 1);
  },
  "degu.argument": (first, second) => {
    const error = catchThrown(() => new first.Client(["a", 80], { timeout: -1 }), "the call");
    assertEquals(second.describeArgumentError(error)?.argument, "timeout");
  },
  "degu.brokenBody": async (first, second) => {
    await using upstream = await start(second, async (request) => {
      return second.reply(200, await request.text());
    });
    await using app = new second.ProxyApp(new second.Client(upstream.address));
    await using proxy = await start(first, app);
    using peer = await RawPeer.connect(proxy.address);
    await peer.send("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n");
    const { received } = await peer.readToEnd();
    assertEquals(received.split("\r\n")[0], "HTTP/1.1 400 Bad Request");
  },
  "degu.ownHeaders": async (first, second) => {
    await using upstream = await startEcho(first);
    const client = new second.Client(upstream.address, { headers: { a: "client", b: "client" } });
    await using app = new first.ProxyApp(client, { headers: () => ({ b: "proxy" }) });
    await using proxy = await start(first, app);
    const response = await new first.Client(proxy.address).get("/", { a: "peer", b: "peer" });
    assertEquals([response.headers["got-a"], response.headers["got-b"]], ["client", "proxy"]);
  },
  "degu.unframed": async (first, second) => {
    using server = new RawServer();
    const connecting = new first.Client(server.address, { unframedNull: true }).connect();
    const peer = await server.accept();
    using connection = await connecting;
    const request = second.createFetch(connection)("/");
    await peer.respond("HTTP/1.1 200 OK\r\n\r\n");
    await request;
    assert(connection.closed);
  },
  "degu.request": async (first, second) => {
    await using server = await start(first, () => first.reply(404));
    const response = new first.Client(server.address).get("/none");
    const error = await assertRejects(() => second.expectOk(response), second.StatusError);
    assertEquals([error.method, error.uri], ["GET", "/none"]);
  },
  "degu.response": async (first, second) => {
    const fail = () => Promise.reject(new first.ResponseError(first.reply(404)));
    await using server = await start(second, fail);
    assertEquals((await new second.Client(server.address).get("/")).status, 404);
    assertEquals((await second.callApp(fail, second.mkreq("GET", "/"))).status, 404);
  },
  "degu.Range": async (first, second) => {
    await using server = await startEcho(second);
    const client = new second.Client(server.address);
    const response = await client.get("/", { range: new first.Range(2, 5) });
    assertEquals(response.headers["got-range"], "bytes=2-4");
  },
  "degu.ContentRange": async (first, second) => {
    const headers = { "content-range": new first.ContentRange(2, 5, 10) };
    const app = () => [206, "Partial Content", headers, "abc"] as const;
    const response = await second.callApp(app, second.mkreq("GET", "/"));
    assertEquals(`${response.headers["content-range"]}`, "bytes 2-4/10");
  },
  "degu.tooLongPreamble": async (first, second) => {
    await using upstream = await startEcho(first);
    const client = new first.Client(upstream.address, { headers: { a: "a".repeat(20_000) } });
    await using app = new second.ProxyApp(client);
    await using proxy = await start(second, app);
    const headers = { b: "b".repeat(20_000) };
    assertEquals((await new second.Client(proxy.address).get("/", headers)).status, 431);
  },
  "degu.reported": async (first, second) => {
    await using dir = await createTempDir();
    await Deno.writeFile(`${dir.path}/large`, new Uint8Array(4_000_000));
    await using server = await start(second, new first.FilesApp(dir.path));
    const handle = await open(`${dir.path}/large`);
    const FileHandle = Object.getPrototypeOf(handle) as typeof handle;
    await handle.close();
    let readCount = 0;
    using _read = patch(FileHandle, "read", (read) =>
      function (this: unknown, ...args: []) {
        if (++readCount < 3) return Reflect.apply(read, this, args);
        return Promise.reject(Object.assign(new Error("EIO: i/o error"), { code: "EIO" }));
      } as typeof read);
    const response = await new second.Client(server.address).get("/large");
    await assertRejects(() => response.bytes(), second.ProtocolError);
    await server.logger.waitFor("debug", "the response was cut: ");
    assertEquals(server.logger.messagesOf("error"), []);
  },
  "degu.transient": (first, second) => {
    for (const status of [503, 404]) {
      const error = new first.StatusError({ message: "", status, method: "GET" });
      assertEquals(second.isTransient(error), status === 503);
    }
  },
  "degu.sharedName": (first, second) => {
    assertInstanceOf(new first.EmptyPreambleError(), second.ProtocolError);
    assertInstanceOf(first.mkSession(), second.Session);
    assertInstanceOf(catchThrown(() => first.parseInvitation("x"), "it"), second.PairingError);
  },
  "degu.exchange": async (first, second) => {
    const session = first.mkSession({ user: "anna" });
    const trusts: ReturnType<Session["trust"]>[] = [];
    const app: main.App = (_request, { trust }) => {
      trusts.push(trust.call(session));
      return second.reply(200);
    };
    const call = () => second.callApp(app, second.mkreq("GET", "/"), { session });
    await assertRejects(call, TypeError, "has not awaited its result");
    const fetched: Promise<void>[] = [];
    const handler = first.fromFetchHandler((_request, { completed }) => {
      fetched.push(completed);
      return new Response("a");
    });
    await second.callApp(handler, second.mkreq("GET", "/"), { session });
    await Promise.all(fetched);
  },
  "degu.requestCore": async (first, second) => {
    const app = second.timeLimit(
      ({ signal }) =>
        new Promise((resolve) => {
          signal.addEventListener("abort", () => resolve(second.reply(200)));
        }),
      0.001,
    );
    assertEquals((await first.callApp(app, first.mkreq("GET", "/"))).status, 503);
  },
};

for (const [key, run] of Object.entries(rows)) {
  Deno.test(`${key} works between two copies`, inBothOrders(run));
}

Deno.test("each registered symbol of the sources has a row", async () => {
  const keys = new Set<string>();
  for (const path of await listLibraryFiles()) {
    const code = await readCode(path);
    const calls = [...code.matchAll(/\bSymbol\s*\.\s*for\b(?:\(\s*"([^"]+)",?\s*\))?/g)];
    for (const [call, key] of calls) {
      assert(key !== undefined, `${path}: the key must be a text: ${call}`);
      if (!key.startsWith("Deno.")) keys.add(key);
    }
  }
  assertEquals([...keys].sort(), Object.keys(rows).sort());
});
