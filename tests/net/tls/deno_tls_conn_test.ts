/** A `Connection` over a `Deno.TlsConn`, as docs/tls.md describes it under "Over Deno.connectTls". */
import { assertEquals, assertInstanceOf, assertNotEquals } from "@std/assert";
import { Body, BodyIter, ChunkedBodyIter } from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

const MEBIBYTE = 1024 * 1024;
/** Bytes that differ at each position of a piece, so that a lost, doubled or moved piece is seen. */
const DATA = Uint8Array.from({ length: 3 * MEBIBYTE + 17 }, (_, i) => (i * 2654435761) >>> 13);

/** Sends the body back as it was sent, and says who asked. */
const echo: App = async (request, session, api) => {
  const headers = { subject: session.peerCertificate?.subject ?? "nobody" };
  const bytes = await request.body?.bytes();
  if (bytes === undefined) return [200, "OK", headers, new Uint8Array(0)];
  const pieces = [...piecesOf(bytes)];
  const body = request.body?.chunked
    ? new api.ChunkedBodyIter([...pieces.map((piece) => [null, piece] as const), LAST])
    : new api.BodyIter(pieces, bytes.length);
  return [200, "OK", headers, body];
};
const LAST = [null, new Uint8Array(0)] as const;

function* piecesOf(bytes: Uint8Array, size = 100_000): Generator<Uint8Array<ArrayBuffer>> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.slice(i, i + size);
}

/** A server that asks for certificates, and a `Connection` to it over Deno's own TLS. */
async function connect(app: App) {
  const stack = new AsyncDisposableStack();
  const pki = stack.use(await TempPKI.create());
  const { server } = stack.use(await startTls(pki, app));
  const [hostname, port] = server.address as [string, number];
  const { caFile = "", certFile = "", keyFile = "" } = pki.clientSslconfig;
  const [ca = "", cert = "", key = ""] = await Promise.all(
    [caFile, certFile, keyFile].map((path) => Deno.readTextFile(path)),
  );
  const dial = () => Deno.connectTls({ hostname, port, caCerts: [ca], cert, key });
  const sock = await dial();
  await sock.handshake();
  const conn = new Connection(sock, null, undefined, 10);
  stack.defer(() => conn.close());
  return { conn, hostname, port, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

Deno.test("bodies of every kind arrive unchanged both ways, over one connection", async (t) => {
  await using ends = await connect(echo);
  const bodies = {
    "an array": () => DATA,
    "a Body": () => new Body(new Blob([DATA]).stream(), DATA.length),
    "a BodyIter": () => new BodyIter(piecesOf(DATA), DATA.length),
    "a ChunkedBodyIter": () =>
      new ChunkedBodyIter([...[...piecesOf(DATA)].map((piece) => [null, piece] as const), LAST]),
  };
  for (const [name, make] of Object.entries(bodies)) {
    await t.step(name, async () => {
      const response = await ends.conn.put("/", {}, make());
      assertEquals(response.headers["subject"], "CN=TempPKI client");
      const received = await response.body?.bytes();
      assertEquals(received?.length, DATA.length);
      assertEquals(await digestOf(received!), await digestOf(DATA));
    });
  }
});

Deno.test("Deno's TLS shows no certificate of the server, and refuses one that it doesn't trust", async () => {
  await using ends = await connect(echo);
  assertEquals(ends.conn.sock.peerCertificate, undefined);
  const { hostname, port } = ends;
  await using stranger = await TempPKI.create();
  const caCerts = [await Deno.readTextFile(stranger.clientSslconfig.caFile ?? "")];
  using sock = await Deno.connectTls({ hostname, port, caCerts });
  const error = await sock.handshake().catch((reason) => reason);
  assertInstanceOf(error, Error);
  assertNotEquals(error.message, "");
});

async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
