/** Ranges (RFC 9110 §14) have one reading through each part that a request passes. */
import { assert, assertEquals } from "@std/assert";
import { Client, createFetch, fromFetchHandler, ProxyApp, Range, SuffixRange } from "@degu/degu";
import { type HeadersToSend, ProtocolError, type Response } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { formatErrorResponse } from "../net/server/error_answers.ts";
import { exchange, RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

/** The received text of each range, and the text that is sent on. */
const READINGS: readonly (readonly [received: string, sent: string])[] = [
  ["bytes=0-", "bytes=0-"],
  ["bytes=5-", "bytes=5-"],
  ["bytes=2-4", "bytes=2-4"],
  ["bytes=-3", "bytes=-3"],
  ["bytes=-0", "bytes=-0"],
  ["bytes=9007199254740990-9007199254740990", "bytes=9007199254740990-9007199254740990"],
  ["bytes=9007199254740990-", "bytes=9007199254740990-"],
  ["bytes=2-9223372036854775807", "bytes=2-"],
  ["bytes=0-18446744073709551615", "bytes=0-"],
  ["bytes=-9223372036854775807", "bytes=-9007199254740991"],
  ["bytes=18446744073709551615-", "bytes=9007199254740991-"],
  ["items=5-", "items=5-"],
];

/** Apps that respond with the range that they got. */
const ECHOES: Record<string, App> = {
  "an app": ({ headers: { range } }) => [200, "OK", {}, `${range}`],
  "a handler of fetch": fromFetchHandler(({ headers }) =>
    new globalThis.Response(headers.get("range"))
  ),
};

for (const [name, app] of Object.entries(ECHOES)) {
  Deno.test(`open, suffix and huge ranges have one reading by ${name}, behind up to two proxies, and through fetch`, async () => {
    await using server = serve(app);
    await using proxy = serve(new ProxyApp(server.makeClient()));
    await using secondProxy = serve(new ProxyApp(proxy.makeClient()));
    for (const { address, makeClient } of [server, proxy, secondProxy]) {
      const fetch = createFetch(makeClient());
      for (const [range, sent] of READINGS) {
        const request = `GET / HTTP/1.1\r\nrange: ${range}\r\nconnection: close\r\n\r\n`;
        const { received } = await exchange(address, request);
        assertEquals(received.split("\r\n\r\n").at(-1), sent, range);
        assertEquals(await (await fetch("/", { headers: { range } })).text(), sent, range);
      }
      for (const range of ["bytes=9007199254740993-9007199254740992", "bytes=5-4"]) {
        const request = `GET / HTTP/1.1\r\nrange: ${range}\r\n\r\n`;
        assertEquals((await exchange(address, request)).received, formatErrorResponse(400));
      }
    }
  });
}

/** Values of `content-range` that contradict themselves, or have no meaning. */
const INVALID_CONTENT_RANGES: readonly string[] = [
  ...["bytes 90000-90001/26", "bytes 0-99/26", "bytes 5-4/26", "bytes x", "bytes", "bytes=0-1/2"],
  ...["bytes 0-9007199254740991/*", "x y", "items 0-1", "", "bytes *\u{2f}*"],
];

/** Responses to each client, over a connection of its own, with a `content-range`. */
async function answerEach(
  server: RawServer,
  clients: readonly Client[],
  status: number,
  value: string,
): Promise<PromiseSettledResult<Response>[]> {
  const results = [];
  for (const client of clients) {
    const asking = Promise.allSettled([client.request("GET", "/")]);
    const fields = [`HTTP/1.1 ${status} x`, `content-range: ${value}`, "content-length: 0"];
    await server.respond(`${fields.join("\r\n")}\r\nconnection: close\r\n\r\n`);
    results.push(...await asking);
  }
  return results;
}

Deno.test("an invalid content-range doesn't hide another status than 206, for a client, behind up to two proxies, and through both bridges", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 30 });
  await using proxy = serve(new ProxyApp(client));
  await using secondProxy = serve(new ProxyApp(proxy.makeClient()));
  await using bridge = serve(fromFetchHandler(() => createFetch(client)("/")));
  const clients = [client, ...[proxy, secondProxy, bridge].map(({ makeClient }) => makeClient())];
  for (const status of [200, 304, 403, 416, 500]) {
    for (const value of INVALID_CONTENT_RANGES) {
      const results = await answerEach(server, clients, status, value);
      const received = results.map((result) =>
        result.status === "rejected"
          ? result.reason
          : [result.value.status, result.value.headers["content-range"]]
      );
      assertEquals(received, clients.map(() => [status, value]));
    }
  }
});

Deno.test("an invalid content-range is refused in a 206, also behind a proxy", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 30 });
  await using proxy = serve(new ProxyApp(client));
  for (const value of INVALID_CONTENT_RANGES) {
    const clients = [client, proxy.makeClient()];
    const [direct, relayed] = await answerEach(server, clients, 206, value);
    assert(direct?.status === "rejected" && direct.reason instanceof ProtocolError);
    assertEquals(direct.reason.code, "BAD_CONTENT_RANGE");
    assert(relayed?.status === "fulfilled");
    assertEquals(relayed.value.status, 502);
  }
});

Deno.test("an app can't send an invalid content-range with 206, or a valid one as a text", async () => {
  const rows: [status: number, value: string][] = [
    [206, "bytes 5-4/26"],
    [206, "bytes 0-1/26"],
    [200, "bytes 0-1/26"],
    [416, "bytes */26"],
  ];
  for (const [status, value] of rows) {
    await using server = serve(() => [status, "x", { "content-range": value }, null]);
    assertEquals((await server.makeClient().request("GET", "/")).status, 500);
    await server.logger.waitFor("error", "must be a ContentRange or an UnsatisfiedRange");
  }
});

Deno.test("a client sends a range without an end as an open range", async () => {
  await using server = serve(ECHOES["an app"]!);
  await using proxy = serve(new ProxyApp(server.makeClient()));
  const rows: (readonly [HeadersToSend, string])[] = [
    [{ range: new Range(5, Infinity) }, "bytes=5-"],
    [{ range: new Range(0, 2 ** 53 - 1) }, "bytes=0-9007199254740990"],
    [{ range: new SuffixRange(2 ** 53 - 1) }, "bytes=-9007199254740991"],
  ];
  for (const serving of [server, proxy]) {
    const client = serving.makeClient();
    for (const [headers, text] of rows) {
      assertEquals(await (await client.request("GET", "/", headers)).text(), text);
    }
    assertEquals(await (await client.getRange("/", {}, 5, Infinity)).text(), "bytes=5-");
  }
});
