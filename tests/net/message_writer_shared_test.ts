/** Preambles of different connections are made in one buffer, and none gets into another's. */
import { assertEquals } from "@std/assert";
import { type App, Client, type Response, Server } from "@degu/degu";

/** Answers with what arrived. */
const tell: App = ({ uri, headers }) => [
  200,
  "OK",
  { "x-seen": `${uri} ${headers["x-name"]}` },
  null,
];

Deno.test("a header getter that makes a request over another connection affects neither message", async () => {
  await using server = new Server(["127.0.0.1", 0], tell);
  server.serveForever();
  const client = new Client(server.address);
  using outer = await client.connect();
  using inner = await client.connect();
  let other: Promise<Response> | null = null;
  const headers = {
    get "x-name"() {
      other ??= inner.get("/inner", { "x-name": "a longer value than the other one has" });
      return "outer";
    },
  };
  for (let count = 0; count < 3; count++) {
    other = null;
    const response = await outer.get("/outer", headers);
    assertEquals(response.headers["x-seen"], "/outer outer");
    const { headers: seen } = await other!;
    assertEquals(seen["x-seen"], "/inner a longer value than the other one has");
  }
});

Deno.test("a header getter that throws leaves nothing for the next message of any connection", async () => {
  await using server = new Server(["127.0.0.1", 0], tell);
  server.serveForever();
  const client = new Client(server.address);
  using conn = await client.connect();
  using other = await client.connect();
  const failure = new Error("no value");
  const headers = {
    "x-name": "secret",
    get "x-other"(): string {
      throw failure;
    },
  };
  assertEquals(await conn.get("/secret", headers).catch((error) => error), failure);
  for (const each of [other, conn]) {
    const response = await each.get("/", { "x-name": "next" });
    assertEquals(response.headers["x-seen"], "/ next");
  }
});
