/** mkSession(). */
import { reply } from "@degu/degu";
import { callApp, mkreq, mkSession, type SessionFields } from "@degu/degu/misc";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";

Deno.test("mkSession makes a session with its fields, and otherwise an anonymous session", async () => {
  const store = new Map([["a", 1]]);
  const session = mkSession({ logName: "peer 1", address: ["::1", 80], user: "anna", store });
  assertEquals([`${session}`, session.address, session.user], ["peer 1", ["::1", 80], "anna"]);
  assertStrictEquals(session.store, store);
  assertEquals(await session.trust(), "trusted");
  for (const empty of [mkSession(), mkSession({})]) {
    const { address, peerCertificate, user, store } = empty;
    assertEquals([`${empty}`, address, peerCertificate, user], ["test", null, null, null]);
    assertEquals([store.size, await empty.trust()], [0, "anonymous"]);
  }
});

Deno.test("the trust of a session of mkSession is what isTrusted returns", async (t) => {
  const rows: [label: string, isTrusted: () => unknown, trust: string][] = [
    ["true", () => true, "trusted"],
    ["a promise of true", () => Promise.resolve(true), "trusted"],
    ["false", () => false, "untrusted"],
    ["a value that is only true in a condition", () => 1, "untrusted"],
    ["an error", () => Promise.reject(new Error("no list")), "untrusted"],
  ];
  await testEachRow(t, rows, async (_label, isTrusted, trust) => {
    for (const user of [undefined, "anna"]) {
      const session = mkSession({ user, isTrusted: isTrusted as () => boolean });
      assertEquals([session.user, await session.trust()], [user ?? null, trust]);
    }
  });
});

Deno.test("mkSession and callApp refuse the same wrong fields", async () => {
  const wrongFields: readonly unknown[] = [
    ...[null, "anna", { usr: "anna" }, { name: "anna" }, { logName: 5 }, { user: 5 }, {
      store: {},
    }],
    ...[{ isTrusted: true }, { isTrusted: Promise.resolve(true) }],
  ];
  for (const fields of wrongFields) {
    const given = fields as SessionFields;
    const { message } = assertThrows(() => mkSession(given), TypeError, "session");
    const call = () => callApp(() => reply(204), mkreq("GET", "/"), { session: given });
    assertEquals((await assertRejects(call, TypeError)).message, message);
  }
});
