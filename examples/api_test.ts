// deno test examples/api_test.ts

// Tests of an app need no server: `callApp` calls it, and checks its answer as a server would.

import type { Method } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { assertEquals } from "@std/assert";
import { buildApi } from "./api.ts";

/** Makes an API, and a function that makes a request to it. */
function newApi() {
  const api = buildApi();
  return (method: Method, uri: string, body?: string) => callApp(api, mkreq(method, uri, {}, body));
}

Deno.test("a lamp that was set is listed, until it is removed", async () => {
  const request = newApi();
  assertEquals(await (await request("GET", "/lamps")).json(), {});
  const set = await request("PUT", "/lamp/kitchen", '{"on": true}');
  assertEquals([set.status, await set.json()], [201, { on: true }]);
  assertEquals((await request("PUT", "/lamp/kitchen", '{"on": false}')).status, 200);
  assertEquals(await (await request("GET", "/lamp/kitchen")).json(), { on: false });
  assertEquals(await (await request("GET", "/lamps")).json(), { kitchen: { on: false } });
  assertEquals((await request("DELETE", "/lamp/kitchen")).status, 204);
  assertEquals(await (await request("GET", "/lamps")).json(), {});
});

Deno.test("an answer is JSON, errors too", async () => {
  const request = newApi();
  for (const uri of ["/lamps", "/lamp/kitchen"]) {
    assertEquals((await request("GET", uri)).headers["content-type"], "application/json");
  }
});

Deno.test("a lamp that was never set, and a path below a lamp, are not found", async () => {
  const request = newApi();
  assertEquals((await request("GET", "/lamp/attic")).status, 404);
  assertEquals((await request("DELETE", "/lamp/attic")).status, 404);
  assertEquals((await request("PUT", "/lamp/attic/bulb", '{"on": true}')).status, 404);
  assertEquals((await request("GET", "/lamps/attic")).status, 404);
});

Deno.test("what is no state of a lamp is refused, and changes nothing", async () => {
  const request = newApi();
  for (const body of ["", "on", "null", "[]", '{"on": 1}', '{"off": true}']) {
    assertEquals((await request("PUT", "/lamp/kitchen", body)).status, 400, body);
  }
  assertEquals(await (await request("GET", "/lamps")).json(), {});
});

Deno.test("a body of more than 1000 bytes is too long, and changes nothing", async () => {
  const request = newApi();
  const put = async (on: boolean, length: number) =>
    (await request("PUT", "/lamp/kitchen", JSON.stringify({ on }).padEnd(length))).status;
  assertEquals([await put(true, 1000), await put(false, 1001)], [201, 413]);
  assertEquals(await (await request("GET", "/lamp/kitchen")).json(), { on: true });
});

Deno.test("another method is refused with the methods that are allowed", async () => {
  const { status, headers } = await newApi()("POST", "/lamps", "{}");
  assertEquals([status, headers["allow"]], [405, "GET, HEAD"]);
});
