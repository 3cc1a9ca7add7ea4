/** Two copies of the package in one program: bodies, pools, apps, errors and files of both together. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import type * as main from "@degu/degu";
import type * as base from "@degu/degu/base";
import type { Session } from "@degu/degu/server";
import { loadCopies, type PackageCopy } from "@degu/testing/copied_package.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const { inBothOrders, dispose } = await loadCopies();
Deno.test.afterAll(dispose);
const longText = "long".repeat(50_000);

/** An app that answers with each kind of body, and echoes the bodies of requests. */
function makeApp({ Body, BodyIter, ChunkedBody, ChunkedBodyIter }: PackageCopy): main.App {
  const bytes = () => new TextEncoder().encode(longText);
  const chunks = (): main.Chunk[] => [[["k", "v"], bytes()], [null, new Uint8Array(0)]];
  return async ({ path: [name], body }) => {
    if (name === "echo") return [200, "OK", {}, await body!.text()];
    const responseBody = {
      text: longText,
      body: new Body(new Blob([longText]).stream(), longText.length),
      iter: new BodyIter([bytes()], longText.length),
      chunks: new ChunkedBodyIter(chunks()),
      encoded: new ChunkedBody(new Blob(["5;k=v\r\nhello\r\n0\r\n\r\n"]).stream()),
      small: "small",
      empty: null,
    }[name!];
    return responseBody === undefined
      ? [404, "Not Found", {}, longText]
      : [200, "OK", {}, responseBody];
  };
}

const texts: Record<string, string> = {
  text: longText,
  body: longText,
  iter: longText,
  chunks: longText,
  encoded: "hello",
  small: "small",
  empty: "",
};

Deno.test(
  "a server sends the bodies of another copy, and cancels unsent ones",
  inBothOrders(async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(second));
    using conn = await new first.Client(server.address).connect();
    for (const [name, text] of Object.entries(texts)) {
      assertEquals(await (await conn.get(`/${name}`)).text(), text);
      assertEquals((await conn.head(`/${name}`)).status, 200);
    }
  }),
);

Deno.test(
  "a client sends the bodies of another copy once, and checks their length",
  inBothOrders(async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const client = new first.Client(server.address);
    const makeBody = (length: number) => new second.Body(new Blob(["hello"]).stream(), length);
    const body = makeBody(5);
    assertEquals(await (await client.put("/echo", {}, body)).text(), "hello");
    assert(body.used);
    await assertRejects(() => client.put("/echo", {}, body), Error, "used before");
    for (const length of [4, 6]) {
      await assertRejects(() => client.put("/echo", {}, makeBody(length)));
    }
    // An invalid request cancels the body, and doesn't read it.
    let reason: unknown;
    const unsentBody = new second.Body(
      new ReadableStream({ cancel: (cancelReason) => void (reason = cancelReason) }),
      5,
    );
    await assertRejects(() => client.put("no slash", {}, unsentBody));
    assertInstanceOf(reason, Error);
  }),
);

Deno.test(
  "a pool makes requests over the connections of another copy's client",
  inBothOrders(async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const client = new second.Client(server.address);
    for (const connector of [client, { connect: () => client.connect() }]) {
      await using pool = new first.ConnectionPool(connector, { maxConnections: 1 });
      for (const [name, text] of Object.entries(texts)) {
        const response = await pool.get(`/${name}`);
        if (response.body !== null) assertInstanceOf(response, first.Response);
        assertEquals(await response.text(), text);
      }
      assertEquals(await (await pool.post("/echo", {}, longText)).text(), longText);
      const body = new first.Body(new Blob([longText]).stream(), longText.length);
      assertEquals(await (await pool.put("/echo", {}, body)).text(), longText);
      assertEquals(server.sessions.size, 1);
      // Canceled and discarded responses free their connections.
      for (const name of ["text", "chunks", "text"]) {
        await (await pool.get(`/${name}`)).body!.cancel();
        await (await pool.get(`/${name}`)).discard();
      }
      const fetch = first.createFetch(pool);
      assertEquals(await (await fetch("/chunks")).text(), longText);
      const error = await assertRejects(() => first.expectOk(pool.get("/none")), first.StatusError);
      assertEquals([error.status, error.uri], [404, "/none"]);
    }
  }),
);

const streamedBodies: Record<string, () => ReadableStream<Uint8Array> | AsyncIterable<string>> = {
  stream: () => new Blob([longText]).stream(),
  generator: async function* () {
    yield longText;
  },
};

Deno.test(
  "a pool and fetch send streams over the connections of another copy's client once",
  inBothOrders(async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const client = new second.Client(server.address);
    for (const connector of [client, { connect: () => client.connect() }]) {
      await using pool = new first.ConnectionPool(connector, { maxConnections: 1 });
      const fetch = first.createFetch(pool);
      for (const makeBody of Object.values(streamedBodies)) {
        const body = makeBody();
        // The second request waits for the connection, and checks its body before.
        const requests = [body, makeBody()].map((sentBody) => pool.put("/echo", {}, sentBody));
        for (const request of requests) assertEquals(await (await request).text(), longText);
        await assertRejects(() => pool.put("/echo", {}, body), Error, "used before");
      }
      const body = new Blob([longText]).stream();
      assertEquals(await (await fetch("/echo", { method: "POST", body })).text(), longText);
    }
  }),
);

Deno.test(
  "a pool cancels the stream of a request that another copy's client doesn't send",
  inBothOrders(async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    await using pool = new first.ConnectionPool(new second.Client(server.address));
    const reasons: unknown[] = [];
    const cancel = (reason: unknown) => void reasons.push(reason);
    const makeBody = () => new ReadableStream<Uint8Array>({ cancel });
    const { readable, writable } = new TransformStream();
    const controller = new AbortController();
    const request = pool.put("/echo", {}, readable, { signal: controller.signal });
    await writable.getWriter().write(new Uint8Array(1));
    controller.abort();
    await assertRejects(() => request, DOMException);
    await assertRejects(() => pool.put("no slash", {}, makeBody()), RangeError);
    await pool.close();
    await assertRejects(() => pool.put("/echo", {}, makeBody()), first.ConnectionClosedError);
    assertEquals(reasons.length, 2);
  }),
);

Deno.test(
  "a pool repeats a request over a stale connection of another copy's client",
  inBothOrders(async (first, second) => {
    using server = new RawServer();
    await using pool = new first.ConnectionPool(new second.Client(server.address));
    const respond = () => server.respond("HTTP/1.1 204 No Content\r\n\r\n");
    const firstRequest = pool.get("/");
    const peer = await respond();
    await firstRequest;
    const secondRequest = pool.get("/");
    await peer.readPreamble();
    peer.close();
    await respond();
    assertEquals((await withTimeout(secondRequest, "a new connection")).status, 204);
  }),
);

Deno.test(
  "a proxy relays between a server and a client of different copies",
  inBothOrders(async (first, second) => {
    await using upstream = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const clientOf = (pkg: PackageCopy) => new pkg.Client(upstream.address);
    await using ownPool = new second.ConnectionPool(clientOf(second));
    await using foreignPool = new second.ConnectionPool(clientOf(first));
    const proxies: main.ProxyApp[] = [
      new first.ProxyApp(clientOf(second)),
      new second.ProxyApp(clientOf(first)),
      new second.ProxyApp(clientOf(second)),
      new first.ProxyApp(ownPool),
      new first.ProxyApp(foreignPool),
    ];
    for (const proxy of proxies) {
      await using server = await first.Server.start(["127.0.0.1", 0], proxy);
      using conn = await new first.Client(server.address).connect();
      for (const [name, text] of Object.entries(texts)) {
        assertEquals(await (await conn.get(`/${name}`)).text(), text);
      }
      const chunks = (await conn.get("/chunks")).body as base.ChunkedBody;
      assertEquals((await chunks.readChunk())[0], ["k", "v"]);
      await chunks.read();
      assertEquals(await (await conn.post("/echo", {}, longText)).text(), longText);
      const stream = new Blob([longText]).stream();
      assertEquals(await (await conn.post("/echo", {}, stream)).text(), longText);
    }
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
  }),
);

Deno.test(
  "a response without framing closes the connection of another copy's client",
  inBothOrders(async (first, second) => {
    using server = new RawServer();
    const client = new second.Client(server.address, { unframedNull: true });
    for (const connector of [client, { connect: () => client.connect() }]) {
      await using pool = new first.ConnectionPool(connector);
      const firstRequest = pool.get("/");
      const peer = await server.respond("HTTP/1.1 200 OK\r\n\r\n");
      assertEquals((await firstRequest).body, null);
      // These late bytes must not become the next response.
      await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").catch(() => {});
      const secondRequest = pool.get("/");
      const nextPeer = await withTimeout(server.accept(), "a new connection");
      await nextPeer.respond("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
      assertEquals(await (await secondRequest).text(), "good");
    }
  }),
);

Deno.test(
  "files and trees are transferred between the copies",
  inBothOrders(async (first, second) => {
    await using dir = await createTempDir();
    await Deno.mkdir(`${dir.path}/source/d`, { recursive: true });
    await Deno.mkdir(`${dir.path}/served`);
    await Deno.writeTextFile(`${dir.path}/source/d/long`, longText);
    for (let i = 0; i < 5; i++) await Deno.writeTextFile(`${dir.path}/source/${i}`, `${i}`);
    const app = new second.FilesApp(`${dir.path}/served`, { write: true, list: true });
    await using server = await first.Server.start(["127.0.0.1", 0], app);
    const pairs = [[first, second], [second, first]] as const;
    for (const [pairIndex, [clientPackage, transferPackage]] of pairs.entries()) {
      const { upload, download, uploadTree, downloadTree } = transferPackage;
      const client = new clientPackage.Client(server.address);
      const connector = { connect: (options: object) => client.connect(options) };
      for (const [clientIndex, requester] of [client, connector].entries()) {
        const index = 2 * pairIndex + clientIndex;
        const uri = `/${index}/`;
        const target = `${dir.path}/target`;
        await uploadTree(requester, `${dir.path}/source`, uri);
        await downloadTree(requester, uri, target);
        assertEquals(await Deno.readTextFile(`${target}/d/long`), longText);
        assertEquals(await Deno.readTextFile(`${target}/4`), "4");
        await upload(requester, `${target}/d/long`, `${uri}file`, { replace: true });
        await download(requester, `${uri}file`, `${dir.path}/copy`, { replace: true });
        assertEquals(await Deno.readTextFile(`${dir.path}/copy`), longText);
        await Deno.remove(`${dir.path}/copy`);
        await Deno.remove(target, { recursive: true });
      }
    }
    await using pool = new second.ConnectionPool(new second.Client(server.address));
    await first.download(pool, "/0/file", `${dir.path}/copy`);
    assertEquals(await Deno.readTextFile(`${dir.path}/copy`), longText);
  }),
);

type ErrorClass = abstract new (...args: never[]) => Error;

const SHARED_NAME = Symbol.for("degu.sharedName");

/** Returns all error classes of the entries, by their names. */
function errorClassesOf(copy: PackageCopy): Map<string, ErrorClass> {
  const entries: [string, unknown][] = Object.entries(copy);
  return new Map(entries.filter((entry): entry is [string, ErrorClass] => {
    const [, value] = entry;
    return typeof value === "function" && value.prototype instanceof Error;
  }));
}

Deno.test(
  "instanceof recognizes the errors of another copy by their class",
  inBothOrders((first, second) => {
    const classes = errorClassesOf(first);
    assert(classes.size > 10);
    for (const [name, ErrorClass] of classes) {
      const error: unknown = Object.create(errorClassesOf(second).get(name)!.prototype);
      for (const [otherName, OtherClass] of classes) {
        const isSubclass = ErrorClass === OtherClass || ErrorClass.prototype instanceof OtherClass;
        assertEquals(error instanceof OtherClass, isSubclass, `${name}, ${otherName}`);
      }
    }
    assertEquals(new Error() instanceof first.DeguError, false);
    for (const value of [null, undefined, "text", 5, {}, Object.create(null)]) {
      assertEquals((value as unknown) instanceof first.DeguError, false);
    }
  }),
);

Deno.test(
  "a program's own error class recognizes only its own errors, unless it has a shared name",
  inBothOrders((first, second) => {
    const extend = ({ DeguError, TlsError }: PackageCopy) => ({
      OwnError: class OwnError extends DeguError {},
      OtherError: class OtherError extends DeguError {},
      OwnTlsError: class OwnTlsError extends TlsError {},
    });
    const own = extend(first);
    const foreign = extend(second);
    const error: unknown = new own.OwnError("mine");
    const results = [
      own.OwnError,
      own.OtherError,
      foreign.OwnError,
      own.OwnTlsError,
      first.TlsError,
    ]
      .map((ErrorClass) => error instanceof ErrorClass);
    assertEquals(results, [true, false, false, false, false]);
    assert(error instanceof first.DeguError && error instanceof second.DeguError);
    class OwnestError extends own.OwnError {}
    assert(new OwnestError() instanceof own.OwnError);
    const share = ({ DeguError }: PackageCopy) =>
      class SharedError extends DeguError {
        static readonly [SHARED_NAME]: string = "example.SharedError";
      };
    const SharedError = share(first);
    const sharedError: unknown = new (share(second))();
    assert(sharedError instanceof SharedError && sharedError instanceof first.DeguError);
    assertEquals(sharedError instanceof class extends SharedError {}, false);
    assertEquals(error instanceof SharedError, false);
    const tlsError = Object.create(own.OwnTlsError.prototype);
    assert(tlsError instanceof second.TlsError && tlsError instanceof second.DeguError);
    assertEquals(tlsError instanceof second.ProtocolError, false);
    // The errors of this copy's classes aren't errors of a subclass.
    assertEquals(new second.DeguError() instanceof own.OwnError, false);
  }),
);

Deno.test(
  "callApp passes another copy's session to the app, and checks its trust",
  inBothOrders(async (first, second) => {
    const call = async (app: main.App, session: Session) =>
      await first.callApp(app, first.mkreq("GET", "/"), { session });
    const isTrusted = () => false;
    const session = second.mkSession({ user: "anna", isTrusted });
    const app: main.AppFunction = async (request, receivedSession) => {
      assertStrictEquals(receivedSession, session);
      assertStrictEquals(request.signal, session.signal);
      return first.reply(200, await session.trust());
    };
    const refuse = () => false;
    assertEquals(
      await (await call({ handle: app, onConnect: refuse }, session)).text(),
      "untrusted",
    );
    const guarded: main.App = async () => {
      await session.checkTrusted();
      return first.reply(200);
    };
    assertEquals((await call(guarded, session)).status, 403);
    const careless: main.App = () => first.reply(200, `${session.trust()}`);
    await assertRejects(() => call(careless, session), TypeError, "has not awaited its result");
    const anonymous: main.App = async (_request, peer) => {
      await peer.checkTrusted();
      return first.reply(200);
    };
    assertEquals((await call(anonymous, second.mkSession())).status, 403);
  }),
);

Deno.test(
  "a FilesApp refuses changes by another copy's session without trust",
  inBothOrders(async (first, second) => {
    await using dir = await createTempDir();
    const app = new first.FilesApp(dir.path, { write: true });
    let isTrusted = true;
    const session = second.mkSession({ user: "anna", isTrusted: () => isTrusted });
    const put = async (callApp: typeof first.callApp, { mkreq }: PackageCopy) =>
      (await callApp(app, mkreq("PUT", "/a", {}, "a"), { session })).status;
    for (const pkg of [first, second]) {
      isTrusted = true;
      assertEquals(await put(pkg.callApp, pkg), pkg === first ? 201 : 204);
      isTrusted = false;
      assertEquals(await put(pkg.callApp, pkg), 403);
    }
  }),
);

Deno.test(
  "apps and middlewares of another copy answer requests",
  inBothOrders(async (first, second) => {
    const { reply, ResponseError } = second;
    const completions: Promise<void>[] = [];
    const app = second.routes({
      "GET /time": second.timeLimit(({ signal }) => reply(200, `${signal.aborted}`), 60),
      "GET /late": second.timeLimit(
        ({ signal }) =>
          new Promise((resolve) => signal.addEventListener("abort", () => resolve(reply(200)))),
        0.001,
      ),
      "GET /error": () => Promise.reject(new ResponseError(reply(409))),
      "POST /json": async (request) => reply(200, `${await request.json({ maxBytes: 5 })}`),
      "/fetch/": second.fromFetchHandler((_request, { completed }) => {
        completions.push(completed);
        return new Response("fetched");
      }),
    });
    const wrapped = second.wrapApp(app, (next, request) => next(request.with({ headers: {} })));
    await using server = await first.Server.start(["127.0.0.1", 0], wrapped, {
      logger: new RecordingLogger(),
    });
    const client = new second.Client(server.address);
    assertEquals(await (await client.get("/time")).text(), "false");
    assertEquals((await client.get("/late")).status, 503);
    assertEquals((await client.get("/error")).status, 409);
    assertEquals(await (await client.post("/json", {}, "5")).text(), "5");
    assertEquals((await client.post("/json", {}, "five")).status, 400);
    assertEquals((await client.post("/json", {}, "123456")).status, 413);
    assertEquals(await (await client.get("/fetch/")).text(), "fetched");
    await withTimeout(Promise.all(completions), "the response was sent");
  }),
);

Deno.test(
  "transfers and fetch use the connector of another copy's pool",
  inBothOrders(async (first, second) => {
    await using dir = await createTempDir();
    for (let i = 0; i < 3; i++) await Deno.writeTextFile(`${dir.path}/${i}`, longText);
    const app = new second.FilesApp(dir.path, { list: true });
    await using pki = await first.TempPKI.create();
    await using server = await first.SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
    const client = new second.SSLClient(pki.clientSslconfig, server.address);
    await using pool = new second.ConnectionPool(client, { maxConnections: 1 });
    assertInstanceOf(pool, first.ConnectionPool);
    await using target = await createTempDir();
    await first.downloadTree(pool, "/", `${target.path}/copy`);
    assertEquals(await Deno.readTextFile(`${target.path}/copy/2`), longText);
    const fetch = first.createFetch(pool);
    const response = await fetch("/0");
    assertEquals(await response.text(), longText);
    assertEquals(response.url, `https://127.0.0.1:${server.port}/0`);
  }),
);

Deno.test(
  "a TLS context of another copy is refused",
  inBothOrders(async (first, second) => {
    await using pki = await first.TempPKI.create();
    const serverContext = second.buildServerSslctx(pki.serverSslconfig);
    const clientContext = second.buildClientSslctx(pki.clientSslconfig);
    const app = () => first.reply(200);
    assertThrows(() => new first.SSLServer(serverContext, ["127.0.0.1", 0], app), TypeError);
    assertThrows(() => new first.SSLClient(clientContext, ["127.0.0.1", 1]), TypeError);
  }),
);
