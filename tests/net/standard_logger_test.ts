/** What a server logs about slow peers, and what happens if the logger fails. */
import { assertEquals } from "@std/assert";
import type { BodyIn } from "@degu/degu/base";
import type { App, Logger } from "@degu/degu/server";
import { RawPeer, turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("a logger that throws or rejects ends neither the server nor the process, and doesn't reach the peer", async () => {
  using unhandled = unhandledRejections();
  const gone = new Error("the log server is gone");
  const ways: Record<string, () => unknown> = {
    "throws": () => {
      throw gone;
    },
    "rejects": () => Promise.resolve().then(() => Promise.reject(gone)),
  };
  for (const [how, fail] of Object.entries(ways)) {
    const called: string[] = [];
    const level = (name: string) => () => (called.push(name), fail()) as undefined;
    const levels = ["debug", "info", "warn", "error"];
    const logger: unknown = Object.fromEntries(levels.map((name) => [name, level(name)]));
    const app: App = ({ uri }) => {
      if (uri === "/bad") throw new Error("no");
      return [200, "OK", {}, null];
    };
    await using serving = serve(app, { logger: logger as Logger });
    for (const request of ["GET /bad HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n", "GET / HTTP/1.1"]) {
      using peer = await RawPeer.connect(serving.address);
      await peer.send(request);
      await peer.closeWrite();
      await peer.assertClosedSilently();
    }
    assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
    assertEquals(called.slice(0, 2), ["error", "info"], how);
    await turnOfEventLoop();
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("the log line of a timeout mentions that the peer waits for 100 Continue", async () => {
  const app = async ({ body }: { body: BodyIn }) => {
    await body?.bytes();
    return [200, "OK", {}, null] as const;
  };
  const waiting = "the peer kept the connection waiting for over 0.2 s";
  const expectation =
    `${waiting}; its request has expect: "100-continue", but no interim response ` +
    "is ever sent: set the client not to wait for one";
  const put = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n";
  const rows = [
    ["nothing of the body", `${put}Expect: 100-continue\r\n\r\n`, expectation],
    ["no expectation", `${put}\r\n`, waiting],
    ["it has sent the body", `${put}expect: 100-continue\r\n\r\nhello`, waiting],
    [
      "the request after it has none",
      `${put}expect: 100-continue\r\n\r\nhello${put}\r\n`,
      waiting,
    ],
  ] as const;
  await Promise.all(rows.map(async ([what, bytes, expected]) => {
    await using serving = serve(app, { timeout: 0.2 });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(bytes);
    await peer.readToEnd();
    const [line = ""] = await serving.logger.waitFor("info");
    assertEquals(line.slice(line.indexOf("TimedOut: ")), `TimedOut: ${expected}`, what);
  }));
});
