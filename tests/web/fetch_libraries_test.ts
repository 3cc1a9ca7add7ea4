/** Libraries from npm that take a fetch, over mutual TLS: they get the fetch of createFetch. */
import { type App, createFetch, fromFetchHandler, json, reply } from "@degu/degu";
import { type Client, ConnectionPool } from "@degu/degu/client";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { EventSource } from "npm:eventsource@5.1.5";
import { Hono } from "npm:hono@4.13.19";
import { hc } from "npm:hono@4.13.19/client";
import createOpenApiClient from "npm:openapi-fetch@0.17.0";

const REDIRECT = { location: "https://other.example/" };

/** Serves an app to clients with a certificate, and opens a pool to the server. */
async function connect(app: App) {
  const trusted: App = {
    handle: app instanceof Function ? app : app.handle.bind(app),
    onConnect: (session) => session.peerCertificate !== null,
  };
  const endpoint = await startTls(await openSharedPki(), trusted);
  const pool = new ConnectionPool(endpoint.client);
  return {
    fetch: createFetch(pool),
    origin: originOf(endpoint.client),
    async [Symbol.asyncDispose]() {
      await pool.close();
      await endpoint[Symbol.asyncDispose]();
    },
  };
}

function originOf({ scheme, host }: Client): string {
  return `${scheme}://${host}`;
}

Deno.test("an EventSource gets events, and connects again with the id of its last event; a redirect ends it", async () => {
  async function* events(firstId: number) {
    yield "retry: 1\n\n";
    for (let id = firstId; id < firstId + 2; id++) yield `id: ${id}\ndata: event ${id}\n\n`;
  }
  await using connected = await connect(({ path, headers }) =>
    path[0] === "moved"
      ? reply(302, null, REDIRECT)
      : reply(200, events(Number(headers["last-event-id"] ?? 0) + 1), {
        "content-type": "text/event-stream",
      })
  );
  const { fetch, origin } = connected;
  const source = new EventSource(`${origin}/events`, { fetch });
  const received: string[] = [];
  const receivedThree = new Promise<void>((resolve) =>
    source.addEventListener("message", ({ data }) => {
      if (received.push(data) === 3) resolve();
    })
  );
  await withTimeout(receivedThree, "three events");
  source.close();
  assertEquals(received.slice(0, 3), ["event 1", "event 2", "event 3"]);

  const movedSource = new EventSource(`${origin}/moved`, { fetch });
  const code = await withTimeout(
    new Promise((resolve) => movedSource.addEventListener("error", (event) => resolve(event.code))),
    "an error",
  );
  assertEquals([code, movedSource.readyState], [302, EventSource.CLOSED]);
});

Deno.test("an openapi client sends parameters and bodies, and returns a redirect, which it asks fetch to follow", async () => {
  interface Paths {
    "/lamps/{id}": {
      put: {
        parameters: { path: { id: string }; query: { fade: number } };
        requestBody: { content: { "application/json": { on: boolean } } };
        responses: { 200: { content: { "application/json": { uri: string; on: boolean } } } };
      };
    };
    "/moved": { get: { responses: { 302: { content?: never } } } };
  }
  await using connected = await connect(async (request) =>
    request.path[0] === "moved"
      ? reply(302, null, REDIRECT)
      : json({ uri: request.uri, ...await request.json<object>() })
  );
  const { fetch, origin } = connected;
  const client = createOpenApiClient<Paths>({ baseUrl: origin, fetch });
  const { data } = await client.PUT("/lamps/{id}", {
    params: { path: { id: "a b" }, query: { fade: 3 } },
    body: { on: true },
  });
  assertEquals(data, { uri: "/lamps/a%20b?fade=3", on: true });
  const { response } = await client.GET("/moved");
  assertEquals([response.status, response.headers.get("location")], [302, REDIRECT.location]);
  const misdirected = createOpenApiClient<Paths>({ baseUrl: "https://other.example", fetch });
  await assertRejects(
    () => misdirected.GET("/moved"),
    TypeError,
    `must be a path, or a URL of ${origin}`,
  );
});

Deno.test("Hono's client sends parameters and bodies, and returns a redirect", async () => {
  const app = new Hono()
    .post("/lamps/:id", async (c) => c.json({ id: c.req.param("id"), ...await c.req.json() }))
    .get("/moved", (c) => c.redirect(REDIRECT.location));
  await using connected = await connect(fromFetchHandler(app));
  const { fetch, origin } = connected;
  const client = hc<typeof app>(origin, { fetch });
  const response = await client.lamps[":id"].$post({ param: { id: "7" } }, {
    init: { body: '{"on":true}' },
  });
  assertEquals(await response.json(), { id: "7", on: true });
  const moved = await client.moved.$get();
  assertEquals([moved.status, moved.headers.get("location")], [302, REDIRECT.location]);
});
