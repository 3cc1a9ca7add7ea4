/** The unmodified frameworks Hono and itty-router from npm on a server of the library. */
import { type FetchHandlerInfo, fromFetchHandler } from "@degu/degu";
import type { Connection } from "@degu/degu/client";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";
import { Hono } from "npm:hono@4.13.19";
import { AutoRouter, error as ittyError, type IRequest } from "npm:itty-router@6.0.0";

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

Deno.test("itty-router: routes, parameters, queries and bodies", async () => {
  const router = AutoRouter({ missing: () => ittyError(404, "nothing here") });
  router.post("/items/:id", async (request: IRequest) => {
    const { params, query } = request;
    return { ...params, query, sent: await request.json() };
  });
  await using serving = serve(fromFetchHandler(router));
  using conn = await serving.makeClient().connect();
  const response = await conn.post("/items/2?a=b", {}, '{"c":1}');
  assertEquals(await response.json(), { id: "2", query: { a: "b" }, sent: { c: 1 } });
  assertEquals((await get(conn, "/nowhere")).status, 404);
});
