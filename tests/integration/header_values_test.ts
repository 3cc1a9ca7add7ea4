/** Values of headers, unchanged from end to end, and values that one of two readers would trim. */
import { createFetch, fromFetchHandler, ProxyApp } from "@degu/degu";
import type { HeadersToSend } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { callApp, mkreq } from "@degu/degu/misc";
import { flatten } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";

const fromCodes = (start: number, end: number) =>
  String.fromCharCode(...Array.from({ length: end - start }, (_, i) => start + i));

/** A header for each byte from 0x20 to 0x7E, some with many bytes, and odd names. */
const EVERY_BYTE: Record<string, string> = {
  ...Object.fromEntries(
    Array.from({ length: 0x7f - 0x20 }, (_, i) => [`x-${i}`, `a${String.fromCharCode(0x20 + i)}b`]),
  ),
  "x-all": `${fromCodes(0x21, 0x7f)} .`,
  "x-above-127": fromCodes(0x80, 0x100),
  "x-tab": "a\tb \t c",
  // Only spaces and tabs are removed from the ends of a value.
  "x-ends": "\x85\xa0 a \xa0\x85",
  "x-empty": "",
  ["x".repeat(256)]: "v",
  cookie: 'theme={"dark":true}; list=[1|2]; mail=a@b; back=`\\`',
};

/** Returns the headers of {@linkcode EVERY_BYTE} among others. */
const pick = (headers: HeadersToSend) =>
  Object.fromEntries(Object.keys(EVERY_BYTE).map((name) => [name, headers[name]]));

const echo: App = ({ headers }) => [200, "OK", pick(headers), null];
const echoFetch: App = fromFetchHandler(({ headers }) =>
  new Response(null, { headers: Object.keys(EVERY_BYTE).map((name) => [name, headers.get(name)!]) })
);

Deno.test("every byte of a value from 0x20 on but 0x7F, and a tab, reaches the other end unchanged, in both directions", async (t) => {
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

Deno.test("cookies stay apart from end to end, through a proxy and both bridges", async (t) => {
  const cookies = ["a=b; Expires=Fri, 27 Nov 2026 00:00:00 GMT", "c=d", "", "e=\xff"];
  const apps: [name: string, app: App][] = [
    ["app", () => [200, "OK", { "set-cookie": cookies }, null]],
    [
      "fetch handler",
      fromFetchHandler(() =>
        new Response(null, { headers: cookies.map((cookie) => ["set-cookie", cookie]) })
      ),
    ],
  ];
  await testEachRow(t, apps, async (_name, app) => {
    await using serving = serve(app);
    await using proxyApp = new ProxyApp(serving.makeClient());
    await using proxy = serve(proxyApp);
    await using handlerProxy = serve(
      fromFetchHandler(({ method }) =>
        createFetch(serving.makeClient(), { anyHost: true })("/", { method })
      ),
    );
    for (const ends of [serving, proxy, handlerProxy]) {
      const client = ends.makeClient();
      assertEquals((await client.request("GET", "/")).headers["set-cookie"], cookies);
      const { headers } = await createFetch(client)("/");
      assertEquals(headers.getSetCookie(), cookies);
    }
    const { headers } = await callApp(app, mkreq("GET", "/"));
    assertEquals(headers["set-cookie"], cookies);
  });
});
