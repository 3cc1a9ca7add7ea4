import { assertEquals, assertStringIncludes } from "@std/assert";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { serve } from "@degu/testing/serving.ts";
import { disposeStore, Session } from "@degu/internal/base/app/session.ts";

Deno.test("sessions dispose of what an app has stored in session.store, in reverse order", async () => {
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

Deno.test("a dispose that rejects is logged, and ends nothing", async () => {
  using unhandled = unhandledRejections();
  const disposed: string[] = [];
  const keep = (name: string) => ({
    async [Symbol.dispose]() {
      disposed.push(name);
      await null;
      throw new Error(`can't dispose of ${name}`);
    },
  });
  await using serving = serve((_request, session) => {
    for (const name of ["a", "b"]) session.store.set(name, keep(name));
    return [200, "OK", {}, null];
  });
  await serving.makeClient().request("GET", "/");
  await serving.logger.waitFor("error");
  await turnOfEventLoop();
  assertEquals(disposed, ["b", "a"]);
  const lines = serving.logger.at("error");
  assertEquals(lines.length, 2);
  for (const [i, name] of disposed.entries()) {
    assertStringIncludes(lines[i]!, "an error of session.store: ");
    assertStringIncludes(lines[i]!, `can't dispose of ${name}`);
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("a store is empty after disposal, so nothing is disposed of twice", () => {
  const session = new Session("peer", null, 1, null);
  let count = 0;
  session.store.set("a", { [Symbol.dispose]: () => count++ });
  for (let i = 0; i < 2; i++) disposeStore(session, () => {});
  assertEquals([count, session.store.size], [1, 0]);
});
