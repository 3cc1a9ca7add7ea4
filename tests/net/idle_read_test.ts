/**
 * Idle connections: a close between two requests is detected at once, and the idle read delays no
 * request.
 */
import { Client, Connection, ConnectionPool, isTransient, reply, Server } from "@degu/degu";
import { ConnectionClosedError, EmptyPreambleError, ProtocolError } from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { makeProgramCommand, runProgram } from "@degu/testing/programs.ts";
import { RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { serveRaw } from "@degu/testing/raw_tls.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";

/** A client's connection, and functions by which its peer sends bytes or ends. */
interface ConnectionPair extends AsyncDisposable {
  readonly conn: Connection;
  send(text: string): Promise<void>;
  end(): Promise<void>;
}

async function openPlain(path?: string): Promise<ConnectionPair> {
  const server = new RawServer(path);
  const conn = await new Client(server.address, { host: null, timeout: 60 }).connect();
  const peer = await server.accept();
  return {
    conn,
    send: (text) => peer.send(text),
    end: () => peer.closeWrite(),
    [Symbol.asyncDispose]() {
      conn.close();
      server[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

async function openTls(): Promise<ConnectionPair> {
  const accepted = Promise.withResolvers<{ write(bytes: Uint8Array): unknown; end(): unknown }>();
  const server = await serveRaw(await openSharedPki(), (socket) => {
    socket.resume();
    accepted.resolve(socket);
  });
  const conn = await server.client.connect();
  const peer = await accepted.promise;
  return {
    conn,
    send: (text) => Promise.resolve(void peer.write(encodeLatin1(text))),
    end: () => Promise.resolve(void peer.end()),
    [Symbol.asyncDispose]() {
      conn.close();
      return server[Symbol.asyncDispose]();
    },
  };
}

const kinds: Record<string, (dir: string) => Promise<ConnectionPair>> = {
  "TCP": () => openPlain(),
  "Unix": (dir) => openPlain(`${dir}/socket`),
  "TLS": () => openTls(),
};

const EMPTY = "HTTP/1.1 204 No Content\r\n\r\n";
const HELLO = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/** Makes a request, responds with these bytes, and reads the response. */
async function exchange({ conn, send }: ConnectionPair, bytes: string): Promise<void> {
  const responding = conn.get("/");
  await send(bytes);
  await (await responding).text();
}

async function waitUntilClosed(conn: Connection): Promise<void> {
  await withTimeout(
    (async () => {
      while (!conn.closed) await waitForTick();
    })(),
    "the connection closes by itself",
  );
}

for (const [kind, open] of Object.entries(kinds)) {
  Deno.test(`${kind}: a peer's close of an idle connection closes it, and is the error of the first request`, async (t) => {
    await using dir = await createTempDir();
    for (const bytes of [EMPTY, HELLO, CHUNKED]) {
      await t.step(JSON.stringify(bytes), async () => {
        await using pair = await open(`${dir.path}`);
        const { conn } = pair;
        for (let i = 0; i < 2; i++) await exchange(pair, bytes);
        assertEquals(conn.closed, false);
        await pair.end();
        await waitUntilClosed(conn);
        const error = await catchRejection(conn.post("/", {}, "hello"), "the first request");
        assertInstanceOf(error, EmptyPreambleError);
        assertStringIncludes(error.message, "before the request was sent");
        assertEquals(isTransient(error), true);
        assertInstanceOf(await catchRejection(conn.get("/"), "the next"), ConnectionClosedError);
        await Deno.remove(`${dir.path}/socket`).catch(() => {});
      });
    }
  });

  Deno.test(`${kind}: unrequested bytes close an idle connection`, async (t) => {
    await using dir = await createTempDir();
    for (const isWithResponse of [true, false]) {
      await t.step(isWithResponse ? "with the response" : "later", async () => {
        await using pair = await open(dir.path);
        const { conn } = pair;
        if (isWithResponse) await exchange(pair, HELLO + EMPTY);
        else {
          await exchange(pair, HELLO);
          await pair.send(EMPTY);
        }
        await waitUntilClosed(conn);
        await assertProtocolRejection(conn.get("/"), ["EXCESS_BYTES"], "the first request");
        assertInstanceOf(await catchRejection(conn.get("/"), "the next"), ConnectionClosedError);
        await Deno.remove(`${dir.path}/socket`).catch(() => {});
      });
    }
  });

  Deno.test(`${kind}: a request that was aborted before its first byte leaves the connection idle and open`, async () => {
    await using dir = await createTempDir();
    await using pair = await open(dir.path);
    const { conn } = pair;
    await exchange(pair, HELLO);
    const aborting = new AbortController();
    const rejection = catchRejection(
      conn.get("/", {}, { signal: aborting.signal }),
      "an aborted request",
    );
    aborting.abort("enough");
    assertEquals([await rejection, conn.closed], ["enough", false]);
    await exchange(pair, HELLO);
    await pair.end();
    await waitUntilClosed(conn);
  });
}

Deno.test("the error of a request over a connection that the peer has ended names an error status before it", async () => {
  for (const [status, end] of [[400, ", after a response with status 400"], [200, ""]] as const) {
    await using pair = await openPlain();
    await exchange(pair, `HTTP/1.1 ${status} OK\r\ncontent-length: 0\r\n\r\n`);
    await pair.end();
    await waitUntilClosed(pair.conn);
    const error = await catchRejection(pair.conn.get("/"), "a request") as Error;
    const expected = `the peer had closed the connection before the request was sent${end}`;
    assertEquals(error.message, expected);
  }
});

/** Blocks the event loop, as a computation does. */
function blockEventLoop(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

Deno.test("a pool's POST succeeds although the server closes while the program computes", async () => {
  const flags = ["--allow-net=127.0.0.1"];
  const running = new RunningProcess(makeProgramCommand("closing_server.ts", { flags }).spawn());
  await using _ = running;
  const port = Number(await running.waitForStdout(/^\d+$/m));
  await using pool = new ConnectionPool(new Client(["127.0.0.1", port]));
  for (let i = 0; i < 5; i++) {
    assertEquals(await (await pool.get("/")).text(), "hello");
    const posting = pool.post("/", {}, null);
    // The server closes the connection while the request waits for that.
    blockEventLoop(200);
    assertEquals(await (await posting).text(), "hello");
    blockEventLoop(200);
  }
});

Deno.test("a socket that can't be unreferenced is read when the next request is made", async () => {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null, undefined, null);
  const responding = conn.get("/");
  socket.receive(EMPTY);
  await responding;
  socket.receive(EMPTY);
  await waitForTick();
  assertEquals(conn.closed, false);
  const error = await catchRejection(conn.get("/"), "the next request");
  assert(error instanceof ProtocolError && error.code === "EXCESS_BYTES");
});

Deno.test("a process with only idle connections ends: over TCP, a Unix socket and TLS, and in a pool", async () => {
  await using dir = await createTempDir();
  const pki = await openSharedPki();
  const app = () => reply(200, "hello");
  await using tcp = await Server.start(["127.0.0.1", 0], app);
  await using unix = await Server.start(`${dir.path}/socket`, app);
  await using tls = await startTls(pki, app);
  const args = [tcp, unix, tls.server].map(({ address }) => JSON.stringify(address));
  const printed = await runProgram("idle_connections.ts", {
    flags: ["--allow-net", "--allow-read", "--allow-write"],
    args: [...args, JSON.stringify({ ...pki.clientSslconfig, checkHostname: false })],
  });
  assertEquals(printed, "hello\nhello\ngiven up false\n".repeat(3));
});
