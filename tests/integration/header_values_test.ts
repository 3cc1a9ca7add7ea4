/** Values of headers, unchanged from end to end, and values that one of two readers would trim. */
import { createFetch, fromFetchHandler, ProxyApp } from "@degu/degu";
import type { HeadersToSend } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { callApp, mkreq } from "@degu/degu/misc";
import { assertRangeError, flatten } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertRejects } from "@std/assert";

/** A header for each byte from 0x20 to 0x7E, one with all of them, and the longest name. */
const EVERY_BYTE: Record<string, string> = {
  ...Object.fromEntries(
    Array.from({ length: 0x7f - 0x20 }, (_, i) => [`x-${i}`, `a${String.fromCharCode(0x20 + i)}b`]),
  ),
  "x-all": `${String.fromCharCode(...Array.from({ length: 0x7e - 0x20 }, (_, i) => 0x21 + i))} .`,
  ["x".repeat(64)]: "v",
  cookie: 'theme={"dark":true}; list=[1|2]; mail=a@b; back=`\\`',
};

/** Returns the headers of {@linkcode EVERY_BYTE} among others. */
const pick = (headers: HeadersToSend) =>
  Object.fromEntries(Object.keys(EVERY_BYTE).map((name) => [name, headers[name]]));

const echo: App = ({ headers }) => [200, "OK", pick(headers), null];
const echoFetch: App = fromFetchHandler(({ headers }) =>
  new Response(null, { headers: Object.keys(EVERY_BYTE).map((name) => [name, headers.get(name)!]) })
);

Deno.test("every byte from 0x20 to 0x7E in a value reaches the other end unchanged, in both directions", async (t) => {
  for (const [name, app] of [["app", echo], ["fetch handler", echoFetch]] as const) {
    await using serving = serve(app);
    await using proxy = serve(new ProxyApp(serving.makeClient()));
    const routes = [["direct", serving], ["proxy", proxy]] as const;
    await testEachRow(
      t,
      routes.map(([route, ends]) => [`${name}, ${route}`, ends] as const),
      async (
        _label,
        ends,
      ) => {
        // The second message finds the names and their order in the caches.
        for (let i = 0; i < 2; i++) {
          const response = await ends.makeClient().request("GET", "/", EVERY_BYTE);
          assertEquals(pick(response.headers), EVERY_BYTE);
          const fetched = await createFetch(ends.makeClient())("/", { headers: EVERY_BYTE });
          assertEquals(pick(Object.fromEntries(fetched.headers)), EVERY_BYTE);
        }
        const lines = Object.entries(EVERY_BYTE).map((line) => `${line.join(": ")}\r\n`).join("");
        using peer = await RawPeer.connect(ends.address);
        await peer.send(...`GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n`.match(/[^]{1,7}/g)!);
        const received = await peer.readPreamble();
        const sorted = Object.entries(EVERY_BYTE).map((line) => line.join(": ")).toSorted();
        const receivedLines = received.split("\r\n").filter((line) => sorted.includes(line));
        assertEquals(receivedLines.toSorted(), sorted);
      },
    );
    const response = await callApp(app, mkreq("GET", "/", EVERY_BYTE));
    assertEquals(flatten(pick(response.headers)), EVERY_BYTE);
  }
});

Deno.test("no caller can send a value with a space at its ends", async () => {
  await using serving = serve(() => [200, "OK", { a: "b " }, null]);
  const client = serving.makeClient();
  assertEquals((await client.request("GET", "/")).status, 500);
  await assertRejects(() => client.request("GET", "/", { a: " b" }), RangeError);
  assertRangeError(() => serving.makeClient({ headers: { a: "b " } }), "headers of a client");
  const added = { headers: () => ({ a: " b" }) };
  await using proxy = serve(new ProxyApp(serving.makeClient(), added));
  assertEquals((await proxy.makeClient().request("GET", "/")).status, 500);
  const call = () => callApp(() => [200, "OK", { a: " b" }, null], mkreq("GET", "/"));
  await assertRejects(call, RangeError);
});
