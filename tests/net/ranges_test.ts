/** The ranges that a client and a server support, over sockets (RFC 9110 §14.2, §15.3.7). */
import { createFetch, ProxyApp } from "@degu/degu";
import { Range } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { connect, readSentRequest, requestWith } from "@degu/testing/connected.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";

Deno.test("a client requests one range, and can't request several", async () => {
  using pair = await connect();
  const sentRequest = await readSentRequest(pair, pair.conn.get("/", { range: new Range(2, 5) }));
  assertEquals(sentRequest, "GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n");
  const requesting = requestWith(pair.conn, "GET", "/", { range: "bytes=0-1,3-4" }, null);
  assertInstanceOf(await catchRejection(requesting, "several"), TypeError);
  pair.conn.close();
  await pair.peer.assertClosedSilently();
});

Deno.test("a server reads an open-ended range as the range up to the largest position, and a proxy sends it on in that form", async () => {
  const app: App = ({ headers: { range } }) => [206, "Partial Content", {}, `${range}`];
  await using serving = serve(app);
  await using proxy = serve(new ProxyApp(serving.makeClient()));
  for (const address of [serving.address, proxy.address]) {
    const rows = [["bytes=5-", 5], ["bytes=0-", 0], [
      `bytes=${2 ** 53 - 2}-`,
      2 ** 53 - 2,
    ]] as const;
    for (const [range, start] of rows) {
      const request = `GET / HTTP/1.1\r\nrange: ${range}\r\nconnection: close\r\n\r\n`;
      for (const pieces of [[request], [...request]]) {
        const { received } = await exchange(address, ...pieces);
        assert(received.endsWith(`\r\n\r\nbytes=${start}-${2 ** 53 - 2}`), received);
      }
    }
    const refused = `GET / HTTP/1.1\r\nrange: bytes=${2 ** 53 - 1}-\r\n\r\n`;
    assertEquals((await exchange(address, refused)).received, formatErrorResponse(400));
  }
  const fetch = createFetch(proxy.makeClient());
  assertEquals(
    await (await fetch("/", { headers: { range: "bytes=7-" } })).text(),
    `bytes=7-${2 ** 53 - 2}`,
  );
});
