/** The log of a server: slow peers, thrown values, failing loggers, and system errors. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { messageOf, plainMessageOf, stackOf } from "@degu/internal/internal/caught_errors.ts";
import type { App, Logger } from "@degu/degu/server";
import { RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("an error is logged with its name, message and stack, and any other value as text", () => {
  const error = new RangeError("too large");
  assertEquals([messageOf(error), plainMessageOf(error)], ["RangeError: too large", "too large"]);
  assertStringIncludes(stackOf(error), "logging_test.ts");
  delete error.stack;
  assertEquals(stackOf(error), "RangeError: too large");
  for (const thrown of [undefined, null, 0, "text", 1n, {}, [1]]) {
    assertEquals([messageOf(thrown), stackOf(thrown)], [`${thrown}`, Deno.inspect(thrown)]);
    assertEquals(plainMessageOf(thrown), `${thrown}`);
  }
});

Deno.test("a value that can't be printed never makes logging fail", () => {
  const fail = () => {
    throw new Error("no");
  };
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const unprintableValues = [
    Symbol("s"),
    Object.create(null),
    { toString: fail },
    Object.defineProperty(new Error(), "message", { get: fail }),
    Object.assign(new Error(), { name: Symbol("s") }),
    proxy,
  ];
  for (const thrown of unprintableValues) {
    for (const format of [messageOf, plainMessageOf, stackOf]) {
      assertEquals(typeof format(thrown), "string");
    }
  }
});

Deno.test("the message of an error is read without creating its stack", () => {
  let stackCount = 0;
  const error = Object.defineProperty(new Error("a"), "stack", { get: () => `${++stackCount}` });
  assertEquals([messageOf(error), stackCount], ["Error: a", 0]);
  assertEquals([stackOf(error), stackCount], ["1", 1]);
});

Deno.test("a logger that throws or rejects ends neither the server nor the process, and doesn't reach the peer", async () => {
  using unhandled = recordUnhandledRejections();
  const failure = new Error("the log server is gone");
  const ways: Record<string, () => unknown> = {
    "throws": () => {
      throw failure;
    },
    "rejects": () => Promise.resolve().then(() => Promise.reject(failure)),
  };
  for (const [label, fail] of Object.entries(ways)) {
    const calls: string[] = [];
    const makeLogMethod = (name: string) => () => (calls.push(name), fail()) as undefined;
    const levels = ["debug", "info", "warn", "error"];
    const logger: unknown = Object.fromEntries(levels.map((name) => [name, makeLogMethod(name)]));
    const app: App = ({ uri }) => {
      if (uri === "/bad") throw new Error("no");
      return [200, "OK", {}, null];
    };
    await using serving = serve(app, { logger: logger as Logger });
    for (const request of ["GET /bad HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n", "GET / HTTP/1.1"]) {
      using peer = await RawPeer.connect(serving.address, request);
      await peer.closeWrite();
      await peer.readToEnd();
    }
    assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
    assertEquals(calls.slice(0, 2), ["error", "info"], label);
    await waitForTick();
  }
  assertEquals(unhandled.reasons, []);
});
