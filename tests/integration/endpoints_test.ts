/** Every kind of endpoint. */
import { Body, BodyIter, type Chunk, ChunkedBody, ChunkedBodyIter, Range } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals, assertInstanceOf } from "@std/assert";

const MEBIBYTE = 1048576;

/** Yields bytes that depend on their position, in pieces of odd sizes. */
function* makePattern(total: number): Generator<Uint8Array> {
  for (let at = 0; at < total;) {
    const piece = new Uint8Array(Math.min(total - at, 70_001));
    for (let i = 0; i < piece.length; i++) piece[i] = (at + i) * 31 >> 3;
    at += piece.length;
    yield piece;
  }
}

/** Checks that bytes match the pattern; returns their number. */
async function checkPattern(pieces: AsyncIterable<Uint8Array>): Promise<number> {
  let at = 0;
  for await (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) {
      if (piece[i] !== ((at + i) * 31 >> 3 & 255)) throw new Error(`byte ${at + i} is wrong`);
    }
    at += piece.length;
  }
  return at;
}

const app: App = async ({ uri, method, headers, body }, _session, api) => {
  if (uri === "/download") {
    return [200, "OK", {}, new api.BodyIter(makePattern(4 * MEBIBYTE), 4 * MEBIBYTE)];
  }
  if (uri === "/upload" && body instanceof Body) {
    return [200, "OK", { total: `${await checkPattern(body)}` }, null];
  }
  const { range } = headers;
  if (range instanceof Range) {
    return [
      206,
      "Partial Content",
      { "content-range": range.contentRange(10) },
      encodeLatin1("0123456789").slice(range.start, range.stop),
    ];
  }
  if (body instanceof ChunkedBody) {
    return [200, "OK", {}, new api.ChunkedBodyIter(await Array.fromAsync(body))];
  }
  if (body !== null) return [200, "OK", {}, await body.bytes()];
  return [200, "OK", { method, host: String(headers["host"] ?? "none") }, null];
};

for (const { name, available, start } of endpointKinds) {
  Deno.test({
    name: `${name}: every kind of exchange works between a client and a server`,
    ignore: !available,
    fn: async (t) => {
      await using endpoint = await start(app);
      const { client } = endpoint;
      await t.step("methods and host", async () => {
        using conn = await client.connect();
        for (const method of ["GET", "PUT", "POST", "HEAD", "DELETE"] as const) {
          const { headers } = await conn.request(method, "/", {}, null);
          assertEquals([headers["method"], headers["host"]], [method, client.host ?? "none"]);
        }
      });
      await t.step("a body in both directions, and its chunks", async () => {
        using conn = await client.connect();
        assertEquals(await (await conn.put("/", {}, encodeLatin1("hello"))).body?.text(), "hello");
        const chunks: Chunk[] = [[["k", "v"], encodeLatin1("hello")], [null, encodeLatin1("!")], [
          null,
          encodeLatin1(""),
        ]];
        const { body } = await conn.post("/", {}, new ChunkedBodyIter(chunks));
        assertInstanceOf(body, ChunkedBody);
        assertEquals(await Array.fromAsync(body), chunks);
        assertEquals(await (await conn.getRange("/", {}, 2, 5)).body?.text(), "234");
      });
      await t.step("4 MiB up and down", async () => {
        using conn = await client.connect();
        const upload = new BodyIter(makePattern(4 * MEBIBYTE), 4 * MEBIBYTE);
        assertEquals((await conn.put("/upload", {}, upload)).headers["total"], `${4 * MEBIBYTE}`);
        const { body } = await conn.get("/download");
        assertInstanceOf(body, Body);
        assertEquals(await checkPattern(body), 4 * MEBIBYTE);
      });
    },
  });
}
