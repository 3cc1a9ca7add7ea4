/** Tables of methods and paths. */
import { Client, reply, type ResponseTuple, Router, routes } from "@degu/degu";
import type { Method } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { assertTypeError, callWith } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertThrows } from "@std/assert";

/** A route that answers what it is called, and what its names stand for. */
function told(route: string) {
  return (parameters: Readonly<Record<string, string>>): ResponseTuple =>
    reply(200, [route, ...Object.entries(parameters).flat()].join(" "));
}

const app = routes({
  "GET /{any}": told("any"),
  "GET /{first}/all": told("first"),
  "HEAD /lamps/": () => reply(204),
  "GET /": told("root"),
  "GET /lamps": told("lamps"),
  "POST /lamps": told("new"),
  "GET /lamps/": told("slash"),
  "GET /lamp/{name}": told("lamp"),
  "PUT /lamp/{other}": told("put"),
  "GET /lamp/all": told("all"),
  "DELETE /lamp/{name}/bulb/{bulb_2}": told("bulb"),
});

async function ask(method: Method, uri: string): Promise<string> {
  const response = await callApp(app, mkreq(method, uri, {}, null));
  return response.ok ? await response.text() : `${response.status} ${response.headers["allow"]}`;
}

Deno.test("routes calls the function of a method and a path, with what the names stand for", async () => {
  const rows: [method: Method, uri: string, answer: string][] = [
    ["GET", "/", "root"],
    ["GET", "/lamps", "lamps"],
    ["GET", "/lamps?all", "lamps"],
    ["POST", "/lamps", "new"],
    ["GET", "/lamps/", "slash"],
    ["GET", "/lamp/kitchen", "lamp name kitchen"],
    ["GET", "/lamp/constructor", "lamp name constructor"],
    ["PUT", "/lamp/kitchen", "put other kitchen"],
    ["DELETE", "/lamp/a/bulb/b", "bulb name a bulb_2 b"],
  ];
  for (const [method, uri, answer] of rows) assertEquals(await ask(method, uri), answer, uri);
});

Deno.test("a component goes before a name, the first one counts, whatever the order of the table", async () => {
  assertEquals(await ask("GET", "/lamp/all"), "all");
  assertEquals(await ask("GET", "/heater/all"), "first first heater");
  assertEquals(await ask("GET", "/heater"), "any any heater");
  // Only a name has a route for this method.
  assertEquals(await ask("PUT", "/lamp/all"), "put other all");
});

Deno.test("a path without a route is 404, another method 405 with those that are allowed", async () => {
  const rows: [method: Method, uri: string, answer: string][] = [
    ["GET", "/lamp/", "404 undefined"],
    ["GET", "/lamp/kitchen/", "404 undefined"],
    ["GET", "/lamp/kitchen/bulb", "404 undefined"],
    ["POST", "/", "405 GET, HEAD"],
    ["DELETE", "/lamps", "405 GET, POST, HEAD"],
    ["DELETE", "/lamps/", "405 HEAD, GET"],
    ["DELETE", "/lamp/all", "405 GET, PUT, HEAD"],
    ["GET", "/lamp/a/bulb/b", "405 DELETE"],
  ];
  for (const [method, uri, answer] of rows) {
    assertEquals(await ask(method, uri), answer, `${method} ${uri}`);
  }
});

Deno.test("a route of GET answers HEAD, unless HEAD has one of its own", async () => {
  await using serving = serve(new Router({ api: app }));
  const client = new Client(serving.server.address);
  const head = async (uri: string) => (await client.request("HEAD", uri)).headers["content-length"];
  assertEquals(await head("/api/lamps"), 5);
  assertEquals((await client.request("HEAD", "/api/lamps/")).status, 204);
  // Below a router the paths begin with the rest.
  assertEquals(await (await client.request("GET", "/api/lamps")).text(), "lamps");
  assertEquals((await client.request("GET", "/lamps")).status, 410);
});

Deno.test("routes refuses a table in which something is wrong, with its key", () => {
  const ok = () => reply(200);
  const rangeErrors: [table: object, said: string][] = [
    [{}, "table: must have a route"],
    [new Map([["GET /", ok]]), "table: must have a route"],
    [{ "PATCH /": ok }, 'table["PATCH /"]: must be GET'],
    [{ "get /": ok }, 'table["get /"]: must be GET'],
    [{ "GET": ok }, 'table["GET"]: '],
    [{ "GET lamps": ok }, 'must begin with "/"'],
    [{ "GET  /lamps": ok }, 'table["GET  /lamps"]: '],
    [{ "GET /lamps ": ok }, "got more"],
    [{ "GET /lamps?all": ok }, "got more"],
    [{ "GET /a//b": ok }, '"//" is not allowed'],
    [{ "GET /../b": ok }, '".." is not allowed'],
    [{ "GET /a%20b": ok }, '"%" is not allowed'],
    [{ "GET /{}": ok }, '"{" is not allowed'],
    [{ "GET /{a-b}": ok }, '"{" is not allowed'],
    [{ "GET /{1a}": ok }, '"{" is not allowed'],
    [{ "GET /a{name}": ok }, '"{" is not allowed'],
    [{ "GET /{name}.txt": ok }, '"{" is not allowed'],
    [{ "GET /{name": ok }, '"{" is not allowed'],
    [{ "GET /{a}/{a}": ok }, "each name must come once"],
    [{ "GET /{a}": ok, "GET /{b}": ok }, 'table["GET /{b}"]: must be the only one'],
  ];
  for (const [table, said] of rangeErrors) {
    assertThrows(() => callWith(routes, table), RangeError, said);
  }
  for (const table of [null, "GET /", ok, { "GET /": null }, { "GET /": { handle: ok } }]) {
    assertTypeError(() => callWith(routes, table), Deno.inspect(table));
  }
});
