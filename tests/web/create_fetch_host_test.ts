/** createFetch: which host a request is for. */
import { assertEquals } from "@std/assert";
import type { Address, AppFunction } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

const encoder = new TextEncoder();

Deno.test("over a named socket the URL determines the host", async (t) => {
  await using dir = await tempDir();
  const app: AppFunction = ({ headers }) => [200, "OK", {}, encoder.encode(`${headers["host"]}`)];
  const addresses: [name: string, address: Address][] = [
    ["a Unix socket", `${dir.path}/socket`],
    ["an abstract name", new Uint8Array(0)],
  ];
  const headers = { host: "init.local" };
  type Row = [input: string, init: RequestInit, host: string | undefined, expected: string];
  const rows: Row[] = [
    ["http://device.local/a", {}, undefined, "device.local"],
    ["http://Device.local:81/a", {}, undefined, "device.local:81"],
    ["http://device.local:80/a", {}, undefined, "device.local"],
    ["http://[::1]:81/a", {}, undefined, "[::1]:81"],
    ["/a", {}, undefined, "localhost"],
    ["http://device.local/a", { headers }, undefined, "init.local"],
    ["/a", { headers }, undefined, "init.local"],
    ["http://device.local/a", {}, "client.local", "client.local"],
    ["http://device.local/a", { headers }, "client.local", "client.local"],
  ];
  for (const [name, address] of addresses) {
    await using serving = serve(app, {}, address);
    for (const [input, init, host, expected] of rows) {
      await t.step(`${name}: ${input} ${expected}`, async () => {
        const client = serving.makeClient(host === undefined ? {} : { host });
        using conn = await client.connect();
        for (const fetch of [createFetch(client), createFetch(conn)]) {
          assertEquals(await (await fetch(input, init)).text(), expected);
        }
      });
    }
    await t.step(`${name}: a URL without an origin gets that of localhost`, async () => {
      const response = await createFetch(serving.makeClient())("/a");
      assertEquals([response.url, await response.text()], ["http://localhost/a", "localhost"]);
    });
  }
  await t.step("a client over TCP that sends no host sends none", async () => {
    await using serving = serve(app);
    const client = serving.makeClient({ host: null });
    using conn = await client.connect();
    for (const fetch of [createFetch(client), createFetch(conn)]) {
      assertEquals(await (await fetch("http://device.local/a")).text(), "undefined");
    }
  });
});

Deno.test("over a named socket a redirect to the host that was sent is followed", async () => {
  await using dir = await tempDir();
  const app: AppFunction = ({ path, headers }) =>
    path[0] === "old"
      ? [302, "Found", { location: `http://${headers["host"]}/new` }, null]
      : [200, "OK", {}, encoder.encode(`${path}`)];
  await using serving = serve(app, {}, `${dir.path}/socket`);
  const fetch = createFetch(serving.makeClient());
  for (const init of [{}, { headers: { host: "init.local" } }]) {
    assertEquals(await (await fetch("http://device.local/old", init)).text(), "new");
  }
});
