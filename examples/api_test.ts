// deno test examples/api_test.ts

// Test an app without a server: `callApp` calls the app, and checks its response as a server would.

import type { Method } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { assertEquals } from "@std/assert";
import { buildApi } from "./api.ts";

/** Makes an API; returns a function that sends requests to it. */
function makeApi() {
  const api = buildApi();
  return (method: Method, uri: string, body?: string) => callApp(api, mkreq(method, uri, {}, body));
}

Deno.test("a lamp that was set is listed, until it is removed", async () => {
  const request = makeApi();
  assertEquals(await (await request("GET", "/lamps")).json(), {});
  const response = await request("PUT", "/lamp/kitchen", '{"on": true}');
  assertEquals([response.status, await response.json()], [201, { on: true }]);
  assertEquals((await request("PUT", "/lamp/kitchen", '{"on": false}')).status, 200);
  assertEquals(await (await request("GET", "/lamp/kitchen")).json(), { on: false });
  assertEquals(await (await request("GET", "/lamps")).json(), { kitchen: { on: false } });
  assertEquals((await request("DELETE", "/lamp/kitchen")).status, 204);
  assertEquals(await (await request("GET", "/lamps")).json(), {});
});

Deno.test("a list and a lamp are JSON", async () => {
  const request = makeApi();
  for (const uri of ["/lamps", "/lamp/kitchen"]) {
    assertEquals((await request("GET", uri)).headers["content-type"], "application/json");
  }
});

Deno.test("a lamp that was never set, and a path below a lamp, are not found", async () => {
  const request = makeApi();
  assertEquals((await request("GET", "/lamp/attic")).status, 404);
  assertEquals((await request("DELETE", "/lamp/attic")).status, 404);
  assertEquals((await request("PUT", "/lamp/attic/bulb", '{"on": true}')).status, 404);
  assertEquals((await request("GET", "/lamps/attic")).status, 404);
});

Deno.test("an invalid state of a lamp is refused, and doesn't change the lamp", async () => {
  const request = makeApi();
  for (const body of ["", "on", "null", "[]", '{"on": 1}', '{"off": true}']) {
    assertEquals((await request("PUT", "/lamp/kitchen", body)).status, 400, body);
  }
  assertEquals(await (await request("GET", "/lamps")).json(), {});
});

Deno.test("a body of more than 1000 bytes is refused, and doesn't change the lamp", async () => {
  const request = makeApi();
  const put = async (on: boolean, length: number) =>
    (await request("PUT", "/lamp/kitchen", JSON.stringify({ on }).padEnd(length))).status;
  assertEquals([await put(true, 1000), await put(false, 1001)], [201, 413]);
  assertEquals(await (await request("GET", "/lamp/kitchen")).json(), { on: true });
});

Deno.test("an unsupported method is refused with the list of allowed methods", async () => {
  const { status, headers } = await makeApi()("POST", "/lamps", "{}");
  assertEquals([status, headers["allow"]], [405, "GET, HEAD"]);
});
