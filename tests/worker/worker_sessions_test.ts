/** The sessions of a `WorkerApp`: their slots, their ends, and the identity of their peers. */
import { SSLClient } from "@degu/degu/client";
import { type AppObject, type ServerOptions, type Session, SSLServer } from "@degu/degu/server";
import { reply, routes, timeLimit, type WorkerApp } from "@degu/degu";
import { TempPKI } from "@degu/degu/misc";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, runServer, serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { startApp, startBlockingApp } from "./worker_serving.ts";

const text = async (response: Promise<{ text(): Promise<string> }>) =>
  await (await response).text();

const HOST = "host: a\r\n";

/** What clients send before they leave. */
const abandonedRequests: readonly (readonly [name: string, path: string, request: string])[] = [
  ["while the app waits", "sleep", `GET /app/sleep HTTP/1.1\r\n${HOST}\r\n`],
  ["while the thread is blocked", "block", `GET /app/block HTTP/1.1\r\n${HOST}\r\n`],
  ["in its request", "late", `POST /app/late HTTP/1.1\r\n${HOST}content-length: 9\r\n\r\nabc`],
  [
    "in a request of two directions",
    "slowEcho",
    [
      `POST /app/slowEcho HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\n`,
      "\r\n5\r\nhello\r\n",
    ].join(""),
  ],
  ["in a response of a known length", "stuck", `GET /app/stuck HTTP/1.1\r\n${HOST}\r\n`],
  ["in a chunked response", "stuckChunks", `GET /app/stuckChunks HTTP/1.1\r\n${HOST}\r\n`],
  ["in a response that they don't read", "endless", `GET /app/endless HTTP/1.1\r\n${HOST}\r\n`],
  ["in a response to HTTP/1.0", "stuckChunks", "GET /app/stuckChunks HTTP/1.0\r\n\r\n"],
];

/** Counts the sessions of an app that have ended. */
function countEnds(app: AppObject) {
  let endedCount = 0;
  let wake = Promise.withResolvers<void>();
  const end = () => {
    endedCount++;
    wake.resolve();
    wake = Promise.withResolvers();
  };
  return {
    app: {
      handle: app.handle.bind(app),
      onConnect(session: Session) {
        session.store.set("end", { [Symbol.dispose]: end });
        return true;
      },
    },
    async waitForEnds(count: number): Promise<void> {
      while (endedCount < count) {
        await withTimeout(wake.promise, `${count} sessions end; ${endedCount} have ended`);
      }
    },
  };
}

const wrappings: readonly (readonly [name: string, wrap: (app: WorkerApp) => AppObject])[] = [
  ["", (app) => app],
  [" behind timeLimit()", (app) => timeLimit(app, 3600)],
];
for (const [wrapping, wrap] of wrappings) {
  Deno.test(`clients that leave free the slots of a WorkerApp${wrapping}`, async () => {
    await Promise.all(abandonedRequests.map(async ([name, path, request]) => {
      await using worker = await startBlockingApp(new RecordingLogger());
      const { app, waitForEnds } = countEnds(routes({ "/app/": wrap(worker) }));
      await using serving = serve(app, { maxConnections: 4 });
      const peers = [];
      for (let count = 1; count <= 4; count++) {
        peers.push(await RawPeer.connect(serving.address, request));
        // A blocked thread calls the app once.
        await worker.messages.waitFor("begun", path === "block" ? 1 : count);
      }
      for (const peer of peers) peer.close();
      await waitForEnds(4);
      assertEquals(serving.server.sessions.size, 0, name);
      worker.unblock();
      await serving.makeClient().get("/app/release");
      // The sessions in the worker have ended as well.
      let sessionCount;
      do {
        sessionCount = await text(serving.makeClient().get("/app/sessionCount"));
      } while (sessionCount !== "1");
    }));
  });
}

Deno.test("a blocked worker is silent after three seconds, also if all clients have left before", async () => {
  const logger = new RecordingLogger();
  await using worker = await startBlockingApp(logger);
  const { app, waitForEnds } = countEnds(worker);
  await using serving = serve(app);
  const peer = await RawPeer.connect(serving.address, `GET /block HTTP/1.1\r\n${HOST}\r\n`);
  await worker.messages.waitFor("begun");
  peer.close();
  await waitForEnds(1);
  let [status, count] = [0, 1];
  while (status !== 503) {
    // A client that waits for less than a second each time.
    const impatient = serving.makeClient({ timeout: 0.2 });
    status = await impatient.get("/bytes").then((response) => response.status, () => 0);
    await waitForEnds(++count);
  }
  worker.unblock();
  while (status !== 200) status = (await serving.makeClient().get("/bytes")).status;
});

// ───────────────────────── the end of a session

Deno.test("an app in a worker ends a session also behind its last response", async () => {
  await using worker = await startApp(new RecordingLogger());
  await using serving = serve(worker);
  for (const path of ["closeLater", "ownTrust"]) {
    using peer = await RawPeer.connect(serving.address, `GET /bytes HTTP/1.1\r\n${HOST}\r\n`);
    await peer.readUntil("\x01\x02");
    await peer.send(`GET /${path} HTTP/1.1\r\n${HOST}\r\n`);
    const { received, kind } = await peer.readToEnd();
    assertEquals([received.slice(0, 15), kind], ["HTTP/1.1 200 OK", "end"], path);
  }
});

Deno.test("shutdown() of the server waits for a request to a worker, and close() of the app for none", async () => {
  const worker = await startApp(new RecordingLogger());
  await using serving = serve(worker);
  using idle = await serving.makeClient().connect();
  await text(idle.get("/bytes"));
  const response = serving.makeClient().get("/sleep");
  await worker.messages.waitFor("begun");
  const { server } = serving;
  const release = serve(worker);
  const ended = server.shutdown();
  await release.makeClient().get("/release");
  assertEquals((await response).status, 200);
  await ended;
  const waiting = release.makeClient().get("/stuck");
  using open = await release.makeClient().connect();
  await text(open.get("/bytes"));
  const cut = (await waiting).bytes();
  cut.catch(() => {});
  await worker.close();
  await assertRejects(() => cut);
  // The sessions of the server go on.
  assertEquals((await open.get("/bytes")).status, 503);
  await release[Symbol.asyncDispose]();
});

// ───────────────────────── requests at the same time

Deno.test("an app in front may make several requests of one session at a time", async () => {
  await using worker = await startApp(new RecordingLogger());
  await using serving = serve(async (request, session) => {
    const call = async (path: string) => {
      const response = await worker.handle(request.with({ path: [path] }), session);
      return "status" in response ? response.status : response[0];
    };
    const statuses = await Promise.all(["stuck", "bytes", "chunks"].map(call));
    return reply(200, `${statuses}`);
  });
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 3; i++) assertEquals(await text(conn.get("/")), "200,200,200");
});

Deno.test("hundreds of clients at a time get their responses through a worker", async () => {
  await using worker = await startApp(new RecordingLogger());
  await using serving = serve(worker, { maxConnections: 300, timeout: null });
  const bodies = Array.from({ length: 300 }, (_, i) => `${i}`.repeat(100));
  const client = serving.makeClient({ timeout: null });
  const echo = (body: string) => text(client.request("POST", "/echo", {}, body));
  assertEquals(await Promise.all(bodies.map(echo)), bodies);
});

Deno.test("small chunks that an app in front doesn't read don't fill the memory", async () => {
  await using worker = await startApp(new RecordingLogger());
  await using serving = serve(async (request, session) => {
    if (request.path[0] !== "smallChunks") return await worker.handle(request, session);
    await worker.handle(request, session);
    return reply(200);
  });
  using conn = await serving.makeClient().connect();
  await conn.get("/smallChunks");
  let count;
  do {
    count = worker.messages.all.length;
    for (let i = 0; i < 50; i++) await text(serving.makeClient().get("/bytes"));
  } while (count === 0 || worker.messages.all.length > count);
  assert(count < 10, `${count} thousand chunks`);
});

// ───────────────────────── identity and trust

const HEADERS = { "x-peer": "anna" };
const forgeries = [
  "x-peer: eve",
  "X-Peer: eve",
  "x-peer: eve\r\nconnection: x-peer",
  "connection: close, X-PEER",
  "x_peer: eve",
  "x-peer: eve\r\nx-peer: mallory",
  "x-peer : eve",
  " x-peer: eve",
  "x-peer:eve\r\n :mallory",
  "x-peer\t: eve",
  "transfer-encoding: chunked\r\ntrailer: x-peer",
];

Deno.test("a client can't replace or remove a header that an app in front sends to the worker", async (t) => {
  await using worker = await startApp(new RecordingLogger());
  await using serving = serve((request, session) =>
    worker.handle(request.with({ headers: HEADERS }), session)
  );
  await testEachRow(t, forgeries.map((header) => [header]), async (header) => {
    const head = `POST /describe HTTP/1.1\r\n${HOST}${header}\r\n`;
    const framing = header.includes("chunked")
      ? "connection: close\r\n\r\n0\r\nx-peer: eve\r\n\r\n"
      : "connection: close\r\ncontent-length: 0\r\n\r\n";
    using peer = await RawPeer.connect(serving.address, head + framing);
    const { received } = await peer.readToEnd();
    if (received.startsWith("HTTP/1.1 400 ")) return;
    const { headers } = JSON.parse(received.slice(received.indexOf("\r\n\r\n") + 4));
    assertEquals([headers["x-peer"], headers["x_peer"]], ["anna", undefined]);
  });
});

Deno.test("each session has the name of its own peer, and a new name begins a new session", async () => {
  await using worker = await startApp(new RecordingLogger());
  let user = "anna";
  const identity = {
    get user() {
      return user;
    },
  };
  await using serving = serve({
    onConnect: () => identity,
    handle: (request, session) => worker.handle(request, session),
  });
  using conn = await serving.makeClient().connect();
  const describe = async (headers: object) => {
    const { session } = await (await conn.get("/describe", headers as never)).json() as {
      session: { user: string; requests: number };
    };
    return [session.user, session.requests];
  };
  assertEquals(await describe({}), ["anna", 0]);
  assertEquals(await describe({ authorization: "Basic ZXZlOg==", "x-user": "eve" }), ["anna", 1]);
  user = "bob";
  assertEquals(await describe({}), ["bob", 0]);
});

Deno.test("calls of isTrusted() at a time get the trust at the time of each call", async () => {
  await using worker = await startApp(new RecordingLogger());
  const answers = [true, true, false, true];
  await using serving = serve({
    onConnect: () => ({ user: "anna", isTrusted: () => answers.shift() ?? false }),
    handle: (request, session) => worker.handle(request, session),
  });
  assertEquals(await text(serving.makeClient().get("/trusts")), "true,false,true");
});

Deno.test("the worker answers for each host that the server in front serves, and over TLS", async () => {
  await using pki = await TempPKI.create();
  await using worker = await startApp(new RecordingLogger());
  const rows: readonly (readonly [host: string, options: ServerOptions])[] = [
    ["lamp", {}],
    ["lamp.example.com", { hosts: ["lamp.example.com"] }],
    ["lamp.example.com", { hosts: "any" }],
  ];
  for (const [host, hosts] of rows) {
    await using plain = serve(worker, hosts);
    const logger = new RecordingLogger();
    const options = { logger, ...hosts };
    const server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], worker, options);
    await using encrypted = runServer(server, logger);
    await server.ready;
    const clients = [
      plain.makeClient({ host }),
      new SSLClient(pki.clientSslconfig, encrypted.address, { host }),
    ];
    for (const client of clients) assertEquals((await client.get("/bytes")).status, 200);
  }
});
