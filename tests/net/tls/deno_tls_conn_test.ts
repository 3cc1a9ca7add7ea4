/** A `Connection` over a `Deno.TlsConn`, as docs/tls.md describes it under "Over Deno.connectTls". */
import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { Body, BodyIter, type BodyOut, type Chunk, ChunkedBodyIter } from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { eachRow } from "@degu/testing/rows.ts";
import { cut } from "@degu/testing/streams.ts";
import { readTexts } from "@degu/testing/tls_configs.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";

/** Bytes that differ at each position of a piece, so that a lost, doubled or moved piece is seen. */
const DATA = Uint8Array.from({ length: 3 * 1048576 + 17 }, (_, i) => (i * 2654435761) >>> 13);

const inPieces = (bytes: Uint8Array) => new BodyIter(cut(bytes, 100_000), bytes.length);
const inChunks = (bytes: Uint8Array) =>
  new ChunkedBodyIter(
    [...cut(bytes, 100_000), new Uint8Array(0)].map((data): Chunk => [null, data]),
  );

/** Sends the body back as it was sent, and says who asked. */
const echo: App = async ({ body }, { peerCertificate }) => {
  const bytes = await body!.bytes();
  const headers = { subject: peerCertificate?.subject ?? "nobody" };
  return [200, "OK", headers, body!.chunked ? inChunks(bytes) : inPieces(bytes)];
};

Deno.test("bodies of every kind arrive unchanged both ways, over one connection", async (t) => {
  const pki = await sharedPki();
  await using endpoint = await startTls(pki, echo);
  const [hostname, port] = endpoint.server.address as [string, number];
  const { ca, cert, key } = await readTexts(pki.clientSslconfig);
  const sock = await Deno.connectTls({ hostname, port, caCerts: [ca], cert, key });
  using conn = new Connection(sock, null, undefined, 10);
  assertEquals(conn.sock.peerCertificate, undefined);
  const bodies: readonly (readonly [string, () => BodyOut])[] = [
    ["an array", () => DATA],
    ["a Body", () => new Body(new Blob([DATA]).stream(), DATA.length)],
    ["a BodyIter", () => inPieces(DATA)],
    ["a ChunkedBodyIter", () => inChunks(DATA)],
  ];
  await eachRow(t, bodies, async (_kind, make) => {
    const { headers, body } = await conn.put("/", {}, make());
    assertEquals(headers["subject"], "CN=TempPKI client");
    assertEquals(Buffer.compare(await body!.bytes(), DATA), 0);
  });
});
