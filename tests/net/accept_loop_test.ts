/** Which connections a server serves, and what becomes of the others; server_life_test.ts has how it ends. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { EmptyPreambleError } from "@degu/degu";
import { serve } from "@degu/testing/serving.ts";

Deno.test("a connection that never gets a slot is closed, and logged by name", async () => {
  await using serving = serve(() => [204, "No Content", {}, null], { maxConnections: 1 });
  using holder = await serving.makeClient().connect();
  assertEquals((await holder.get("/")).status, 204);
  await assertRejects(() => serving.makeClient().request("GET", "/"), EmptyPreambleError);
  assertMatch(
    serving.logger.at("info").join(),
    /^127\.0\.0\.1:\d+: closed, because no slot became free$/,
  );
});

Deno.test("a connection that waits for a slot when the server stops is closed, and not logged", async () => {
  await using serving = serve(() => [204, "No Content", {}, null], { maxConnections: 1 });
  using holder = await serving.makeClient().connect();
  await holder.get("/");
  using waiting = await serving.makeClient().connect();
  const refused = assertRejects(() => waiting.get("/"));
  serving.server.close();
  await refused;
  await serving.done;
  assertEquals(serving.logger.at("info"), []);
});
