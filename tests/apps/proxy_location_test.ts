/** ProxyApp: locations of the upstream in responses. */
import { type App, Client, ConnectionPool, type Connector, ProxyApp, routes } from "@degu/degu";
import type { Address } from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";

/** Responds with the header `target` of the request as `location` and `content-location`. */
const app: App = ({ headers }) => {
  const location = `${headers["target"]}`;
  return [201, "Created", { location, "content-location": location }, null];
};

/** `UP` is the origin of the upstream. */
const ROWS: readonly (readonly [location: string, mapped: string])[] = [
  // A path at the upstream.
  ["/", "/m%20n/o/"],
  ["/a/", "/m%20n/o/a/"],
  ["/a?b#c", "/m%20n/o/a?b#c"],
  ["/a%20b/%c3%bc", "/m%20n/o/a%20b/%c3%bc"],
  ["UP/a?b#c", "/m%20n/o/a?b#c"],
  ["UP/", "/m%20n/o/"],
  // Resolved against the URL of the request.
  ["", ""],
  ["a", "a"],
  ["./a", "./a"],
  ["../a", "../a"],
  ["?a", "?a"],
  ["#a", "#a"],
  // Another origin.
  ["//other/a", "//other/a"],
  ["//", "//"],
  ["http://other/a", "http://other/a"],
  ["https://other/a", "https://other/a"],
  ["UP.other/a", "UP.other/a"],
  ["UP1/a", "UP1/a"],
  ["UP@other/a", "UP@other/a"],
  ["mailto:a", "mailto:a"],
  // Browsers read these as `//other/a`.
  ["/\\other/a", "/\\other/a"],
  ["/\t/other/a", "/\t/other/a"],
  ["/\t\t\\other/a", "/\t\t\\other/a"],
  ["UP//other/a", "UP//other/a"],
  ["UP/\\other/a", "UP/\\other/a"],
  ["UP/\t/other/a", "UP/\t/other/a"],
];

Deno.test("a location and a content-location at the upstream get the mount of the request", async (t) => {
  await using upstream = serve(app);
  const client = upstream.makeClient();
  const origin = `http://${client.host}`;
  await using proxyApp = new ProxyApp(client);
  const mounted = routes({ "/m%20n/o/": proxyApp });
  await using proxy = serve(mounted);
  await using outerProxyApp = new ProxyApp(proxy.makeClient());
  await using outerProxy = serve(routes({ "/x/": outerProxyApp }));
  await testEachRow(t, ROWS, async (location, mapped) => {
    const [target, expected] = [location, mapped].map((text) => text.replace("UP", origin));
    const headers = { target: target! };
    const response = await proxy.makeClient().request("GET", "/m%20n/o/a", headers);
    const outerResponse = await outerProxy.makeClient().request("GET", "/x/m%20n/o/a", headers);
    for (const name of ["location", "content-location"]) {
      assertEquals(response.headers[name], expected, name);
      const isMapped = expected!.startsWith("/m");
      assertEquals(outerResponse.headers[name], isMapped ? `/x${expected}` : expected, name);
    }
  });
});

Deno.test("without a mount, only the origin of the upstream is removed from a location", async () => {
  await using upstream = serve(app);
  const client = upstream.makeClient();
  await using proxyApp = new ProxyApp(client);
  await using proxy = serve(proxyApp);
  const rows = [
    ["/a", "/a"],
    [`http://${client.host}/a`, "/a"],
    ["a", "a"],
    ["//a/b", "//a/b"],
    // Without the origin, browsers would read these as `//other/a`.
    ...["//other/a", "/\\other/a", "/\t/other/a"].map((path) => {
      const location = `http://${client.host}${path}`;
      return [location, location];
    }),
    ["http://other/a", "http://other/a"],
  ];
  for (const [target, expected] of rows) {
    const { headers } = await proxy.makeClient().request("GET", "/", { target: target! });
    assertEquals([headers["location"], headers["content-location"]], [expected, expected]);
  }
});

Deno.test("the origin of the upstream is known over each kind of address and client", async (t) => {
  await using dir = await createTempDir();
  type Row = [name: string, address: Address, host: string | undefined, origin: string | null];
  const rows: Row[] = [
    ["TCP", ["127.0.0.1", 0], undefined, "http://HOST"],
    ["IPv6", ["::1", 0], undefined, "http://HOST"],
    ["a name", ["127.0.0.1", 0], "device.local:81", "http://device.local:81"],
    ["a Unix socket", `${dir.path}/socket`, undefined, null],
    ["a Unix socket with a host", `${dir.path}/socket2`, "localhost", "http://localhost"],
  ];
  for (const [name, address, host, originText] of rows) {
    await t.step(name, async () => {
      await using upstream = serve(app, {}, address);
      const client = new Client(upstream.address, host === undefined ? {} : { host });
      const origin = originText?.replace("HOST", `${client.host}`) ?? "http://localhost";
      await using pool = new ConnectionPool(client);
      const connector: Connector = { connect: (options) => client.connect(options) };
      for (const requester of [client, pool, connector]) {
        await using proxyApp = new ProxyApp(requester);
        await using proxy = serve(routes({ "/m/": proxyApp }));
        const get = async (target: string) =>
          (await proxy.makeClient().request("GET", "/m/", { target })).headers["location"];
        assertEquals(await get("/a"), "/m/a");
        const isKnown = originText !== null && requester !== connector;
        assertEquals(await get(`${origin}/a`), isKnown ? "/m/a" : `${origin}/a`);
      }
    });
  }
});
