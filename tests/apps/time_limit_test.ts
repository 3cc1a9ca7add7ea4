/** timeLimit(), and the signal of a request. */
import { type App, Body, Client, reply, Server, timeLimit } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import type { Session } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";

const request = () => mkreq("GET", "/");

Deno.test("an answer within the limit is the response, and so is an error", async () => {
  const app = timeLimit(({ body }) => reply(200, `${body}`), 60);
  assertEquals(await (await callApp(app, request())).text(), "null");
  const failing = timeLimit(() => Promise.reject(new Error("mine")), 60);
  await assertRejects(() => callApp(failing, request()), Error, "mine");
});

Deno.test("after the limit the response is 503, the signal is aborted, and the body that comes late is canceled", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "a file");
  const bodies: Body[] = [];
  const app: App = timeLimit(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    assertEquals(signal.reason.name, "TimeoutError");
    const body = await Body.fromFile(`${dir.path}/file`);
    bodies.push(body);
    return reply(200, body);
  }, 0.01);
  const logger = new RecordingLogger();
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const client = new Client(server.address);
  for (let i = 0; i < 3; i++) assertEquals((await client.get("/")).status, 503);
  // The sanitizer of resources finds a file that is still open.
  const isDone = () => bodies.length === 3 && bodies.every(({ used }) => used);
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve));
});

Deno.test("an error that comes after the limit is logged, unless it is the reason of the signal", async () => {
  const logger = new RecordingLogger();
  const app: App = timeLimit(async ({ signal, path }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    if (path[0] === "own") throw new Error("mine");
    signal.throwIfAborted();
    return reply(200);
  }, 0.01);
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const client = new Client(server.address);
  for (const uri of ["/abort", "/own"]) assertEquals((await client.get(uri)).status, 503);
  const lines = await logger.waitFor("info", "after the time limit");
  assertEquals(
    lines.filter((line) => line.includes("an error after the time limit: Error: mine")).length,
    1,
  );
});

Deno.test("an object keeps its hooks, and invalid arguments are refused", async () => {
  const sessions: Session[] = [];
  const onConnect = (session: Session) => sessions.push(session) > 0;
  const app = timeLimit({ onConnect, isMount: true, handle: () => reply(404) }, 60);
  assertEquals((await callApp(app, mkreq("GET", "/none"))).status, 404);
  assertEquals([sessions.length, app.isMount], [1, true]);
  const invalid = (seconds: unknown) => () => timeLimit(() => reply(200), seconds as number);
  for (const seconds of [0, -1, NaN, 3601, Infinity]) {
    assertThrows(invalid(seconds), RangeError, "seconds: must be a number of seconds above 0");
  }
  assertThrows(invalid("5"), TypeError, "seconds");
  assertThrows(() => timeLimit(5 as unknown as App, 5), TypeError, "app");
});

Deno.test("the signal of a request is that of its session, also in copies, and is aborted when the client disconnects", async () => {
  const called = Promise.withResolvers<AbortSignal>();
  const app: App = async (request, session) => {
    assertStrictEquals(request.signal, session.signal);
    assertStrictEquals(request.with({ path: [] }).signal, session.signal);
    called.resolve(request.signal);
    await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
    return reply(200);
  };
  await using server = await Server.start(["127.0.0.1", 0], app, { logger: new RecordingLogger() });
  const controller = new AbortController();
  const { signal } = controller;
  const requesting = new Client(server.address).request("GET", "/", {}, null, { signal });
  const requestSignal = await called.promise;
  controller.abort(new Error("enough"));
  await assertRejects(() => requesting, Error, "enough");
  const aborted = new Promise((resolve) => requestSignal.addEventListener("abort", resolve));
  if (!requestSignal.aborted) await withTimeout(aborted, "the signal is aborted");
  assertEquals(mkreq("GET", "/").signal.aborted, false);
});
