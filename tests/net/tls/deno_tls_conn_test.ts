/** A `Connection` over a `Deno.TlsConn`, as docs/tls.md describes it under "Over Deno.connectTls". */
import { assertEquals } from "@std/assert";
import { Body, BodyIter, ChunkedBodyIter } from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { readTexts } from "@degu/testing/tls_configs.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { eachRow } from "@degu/testing/rows.ts";

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

Deno.test("bodies of every kind arrive unchanged both ways, over one connection", async (t) => {
  const pki = await sharedPki();
  await using endpoint = await startTls(pki, echo);
  const [hostname, port] = endpoint.server.address as [string, number];
  const { ca, cert, key } = await readTexts(pki.clientSslconfig);
  const sock = await Deno.connectTls({ hostname, port, caCerts: [ca], cert, key });
  using conn = new Connection(sock, null, undefined, 10);
  assertEquals(conn.sock.peerCertificate, undefined);
  const bodies = {
    "an array": () => DATA,
    "a Body": () => new Body(new Blob([DATA]).stream(), DATA.length),
    "a BodyIter": () => new BodyIter(piecesOf(DATA), DATA.length),
    "a ChunkedBodyIter": () =>
      new ChunkedBodyIter([...[...piecesOf(DATA)].map((piece) => [null, piece] as const), LAST]),
  };
  await eachRow(t, Object.entries(bodies), async (_name, make) => {
    const response = await conn.put("/", {}, make());
    assertEquals(response.headers["subject"], "CN=TempPKI client");
    const received = await response.body?.bytes();
    assertEquals(received?.length, DATA.length);
    assertEquals(await digestOf(received!), await digestOf(DATA));
  });
});

async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
