import { assertEquals, assertStringIncludes } from "@std/assert";
import { within } from "./support/raw_peer.ts";
import { serve } from "./support/serving.ts";

Deno.test("sessions dispose of what an app has kept in session.store, the last first", async () => {
  const disposed: string[] = [];
  const ended = Promise.withResolvers<void>();
  const keep = (name: string): Disposable => ({
    [Symbol.dispose]() {
      disposed.push(name);
      if (name === "b") throw new Error("can't dispose of b");
      if (name === "a") ended.resolve();
    },
  });
  await using serving = serve((_request, session) => {
    for (const name of ["a", "b", "c"]) session.store.set(name, keep(name));
    session.store.set("null", null).set("text", "text").set("object", {});
    return [200, "OK", {}, null];
  });
  using conn = await serving.makeClient().connect();
  await conn.get("/");
  assertEquals(disposed, []);
  conn.close();
  await within(ended.promise, "everything is disposed of");
  assertEquals(disposed, ["c", "b", "a"]);
  assertStringIncludes((await serving.logger.waitFor("error"))[0] ?? "", "can't dispose of b");
});
