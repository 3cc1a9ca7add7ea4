/** session.warn(). */
import { type App, reply } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { type LogDetails, type Session, standardLogger } from "@degu/degu/server";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertMatch, assertRejects } from "@std/assert";

Deno.test("warn logs an escaped line of level info, with its kind, its session and its error", async () => {
  const lines: [level: string, message: string, details: LogDetails][] = [];
  const { debug, info, warn, error } = console;
  const record = (...line: typeof lines[number]) => void lines.push(line);
  const logger = { debug, info, warn, error, record };
  const reason = new Error("no lamp");
  let name = "";
  await using serving = serve((_request, session) => {
    name = `${session}`;
    session.warn("a lamp\r\n\x1b[2Jadmin: b", reason);
    return reply(404);
  }, { logger });
  await serving.makeClient().request("GET", "/");
  const [level, message, details] = lines.find(([, message]) => message.includes("lamp"))!;
  assertEquals([level, message], ["info", "a lamp\\u{d}\\u{a}\\u{1b}[2Jadmin: b"]);
  assertEquals([details.kind, details.who, details.error], ["app", name, reason]);
});

Deno.test("a peer that causes a thousand lines fills no log of the standard logger", async () => {
  const printed: string[] = [];
  const logger = standardLogger({ print: (line) => void printed.push(line) });
  await using serving = serve((_request, session) => {
    for (let i = 0; i < 1000; i++) session.warn(`line ${i}`);
    return reply(404);
  }, { logger });
  await serving.makeClient().request("GET", "/");
  logger[Symbol.dispose]();
  assertEquals(printed[0], "line 0");
  assertMatch(printed.at(-1)!, /^line 999 \(and 998 more of this kind\)$/);
  assertEquals(printed.length, 2);
});

Deno.test("warn has no effect without a server, and for a wrapper of a session", async () => {
  const app: App = (_request, session) => {
    session.warn("a line");
    (Object.create(session) as Session).warn("a line");
    new Proxy(session, {}).warn("a line");
    return reply(204);
  };
  assertEquals((await callApp(app, mkreq("GET", "/"))).status, 204);
});

Deno.test("warn refuses a text that is not a string", async () => {
  const wrongTexts: readonly unknown[] = [undefined, null, 5, new Error("a line")];
  for (const text of wrongTexts) {
    const app: App = (_request, session) => {
      session.warn(text as string);
      return reply(204);
    };
    await assertRejects(() => callApp(app, mkreq("GET", "/")), TypeError, "text");
  }
});
