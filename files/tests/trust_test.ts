/** The trust that a `FilesApp` requires for a change. */
import { FilesApp } from "@degu/files";
import type { AppObject, Session } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";

Deno.test("a FilesApp refuses all changes by a session that is no longer trusted", async () => {
  await using dir = await createTempDir();
  let trusts: unknown = true;
  const files = new FilesApp(dir.path, { write: true });
  const isTrusted = () => trusts as boolean;
  const app: AppObject = {
    onConnect: () => ({ user: "anna", isTrusted }),
    handle: (request, session) => files.handle(request, session),
  };
  await using serving = serve(app);
  const client = serving.makeClient();
  const put = async (text: string) => {
    using conn = await client.connect();
    // The peer is still trusted when the session begins.
    await (await conn.get("/")).discard();
    trusts = response;
    const { status } = await conn.put("/a", {}, text);
    trusts = true;
    return status;
  };
  let response: unknown = true;
  assertEquals(await put("1"), 201);
  for (response of [false, undefined, 1, "true"]) assertEquals(await put("2"), 403);
  assertEquals(await Deno.readTextFile(`${dir.path}/a`), "1");
});

/** A session with its own methods, by which a middleware narrows the trust. */
const WRAPPERS: [label: string, wrap: (session: Session, trust: () => unknown) => Session][] = [
  ["a Proxy", (session, trust) =>
    new Proxy(session, {
      get(target, name) {
        if (name === "trust") return trust;
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    })],
  ["an object", (session, trust) =>
    ({
      user: session.user,
      address: session.address,
      signal: session.signal,
      trust,
    }) as unknown as Session],
  ["a class", (session, trust) =>
    new (class {
      get signal() {
        return session.signal;
      }
      trust() {
        return trust();
      }
    })() as unknown as Session],
  ["a replaced method", (session, trust) => Object.assign(session, { trust })],
];

Deno.test("a middleware can narrow the trust that a FilesApp requires", async (t) => {
  await testEachRow(t, WRAPPERS, async (_label, wrap) => {
    await using dir = await createTempDir();
    const files = new FilesApp(dir.path, { write: true });
    const app: AppObject = {
      onConnect: () => ({ user: "anna" }),
      handle(request, session) {
        const trust = () => request.headers["x-key"] === "good" ? "trusted" : "untrusted";
        return files.handle(request, wrap(session, trust));
      },
    };
    await using serving = serve(app);
    const client = serving.makeClient();
    assertEquals((await client.put("/a", { "x-key": "bad" }, "a")).status, 403);
    assertEquals((await client.delete("/a", { "x-key": "bad" })).status, 403);
    assertEquals((await client.put("/a", { "x-key": "good" }, "a")).status, 201);
  });
});
