/** Ranges (RFC 9110 §14) have one reading through each part that a request passes. */
import { assertEquals } from "@std/assert";
import { createFetch, fromFetchHandler, ProxyApp, Range, SuffixRange } from "@degu/degu";
import type { HeadersToSend } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
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
  "a handler of fetch": fromFetchHandler(({ headers }) => new Response(headers.get("range"))),
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
