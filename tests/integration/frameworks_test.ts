/** Hono and ky. */
import { createFetch, type FetchHandlerInfo, fromFetchHandler } from "@degu/degu";
import type { Connection } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Hono } from "npm:hono@4.13.19";
import ky from "npm:ky@2.1.0";

// The unmodified framework Hono from npm on a server of the library.

const encoder = new TextEncoder();

async function get(conn: Connection, uri: string, headers: Record<string, string> = {}) {
  const response = await conn.get(uri, headers);
  return { ...response, text: await response.text() };
}

function serveHono(app: Hono<{ Bindings: FetchHandlerInfo }>): Serving {
  return serve(fromFetchHandler(app));
}

Deno.test("Hono: routes, parameters, queries, groups and middleware", async () => {
  const books = new Hono()
    .get("/", (c) => c.json(["one", "two"]))
    .get("/:id", (c) => c.json({ id: c.req.param("id"), page: c.req.query("page") ?? null }))
    .delete("/:id", (c) => c.body(null, 204));
  const app = new Hono<{ Bindings: FetchHandlerInfo }>();
  app.use(async (c, next) => {
    await next();
    c.header("x-middleware", "yes");
  });
  app.get("/", (c) => c.text("home"));
  app.route("/books", books);
  app.get("/files/*", (c) => c.html(`<p>${c.req.path}</p>`));
  app.get("/old", (c) => c.redirect("/books/1", 301));
  app.notFound((c) => c.text(`nothing at ${c.req.path}`, 404));
  await using serving = serveHono(app);
  using conn = await serving.makeClient().connect();
  const rows: [uri: string, status: number, text: string | undefined][] = [
    ["/", 200, "home"],
    ["/books", 200, '["one","two"]'],
    ["/books/7?page=2", 200, '{"id":"7","page":"2"}'],
    ["/books/7?page=a%20b", 200, '{"id":"7","page":"a b"}'],
    ["/files/a/b.txt", 200, "<p>/files/a/b.txt</p>"],
    ["/missing", 404, "nothing at /missing"],
    ["/old", 301, ""],
  ];
  for (const [uri, status, text] of rows) {
    const response = await get(conn, uri);
    assertEquals([response.status, response.text], [status, text], uri);
    assertEquals(response.headers["x-middleware"], "yes", uri);
  }
  const deleted = await conn.delete("/books/7");
  assertEquals([deleted.status, deleted.reason, deleted.body], [204, "No Content", null]);
  const head = await conn.head("/books");
  assertEquals([head.status, head.headers["content-type"]], [200, "application/json"]);
  assertEquals(serving.logger.messagesOf("error"), []);
});

// Unmodified ky from npm over a client of the library.

/** Makes a ky that sends its requests to the server. */
function makeKy(serving: Serving, options: Parameters<typeof ky.create>[0] = {}) {
  const fetch = createFetch(serving.makeClient(), { anyHost: true });
  return ky.create({ fetch, prefix: "http://device.local", retry: 0, ...options });
}

/** An app that responds with its request. */
const echoApp: AppFunction = async (request) => {
  const { method, uri, headers } = request;
  const type = headers["content-type"] ?? null;
  const length = headers["content-length"] ?? null;
  const text = await request.body?.text() ?? null;
  const response = JSON.stringify({ method, uri, accept: headers["accept"], type, length, text });
  return [200, "OK", { "content-type": "application/json" }, encoder.encode(response)];
};

Deno.test("ky: methods, JSON, search parameters and headers", async () => {
  await using serving = serve(echoApp);
  const api = makeKy(serving);
  assertEquals(await api.get("a/b", { searchParams: { c: "d e" } }).json(), {
    method: "GET",
    uri: "/a/b?c=d+e",
    accept: "application/json",
    type: null,
    length: null,
    text: null,
  });
  assertEquals(await api.post("a", { json: { b: 1 } }).json(), {
    method: "POST",
    uri: "/a",
    accept: "application/json",
    type: "application/json",
    length: 7,
    text: '{"b":1}',
  });
  const put = await api.put("a", { body: "text", headers: { "content-type": "b" } }).json();
  assertEquals((put as Record<string, unknown>)["type"], "b");
  const response = await api.delete("a");
  assertEquals([response.ok, response.url], [true, "http://device.local/a"]);
  assertStringIncludes(await response.text(), "DELETE");
});
