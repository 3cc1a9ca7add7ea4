/** What a server does where its logger fails. */
import { assertEquals } from "@std/assert";
import { RawPeer, turnOfEventLoop } from "./support/raw_peer.ts";
import { unhandledRejections } from "./support/rejections.ts";
import { serve } from "./support/serving.ts";

Deno.test("a logger that throws neither ends the server nor reaches the peer", async () => {
  const fail = () => {
    throw new Error("the disk is full");
  };
  const app = (request: { uri: string }) => {
    if (request.uri === "/bad") throw new Error("no");
    return [200, "OK", {}, null] as const;
  };
  const logger = { debug: fail, info: fail, warn: fail, error: fail };
  await using serving = serve(app, { logger });
  for (const request of ["GET /bad HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n", "GET / HTTP/1.1"]) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(request);
    await peer.closeWrite();
    await peer.assertClosedSilently();
  }
  assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
});

Deno.test("a logger with asynchronous methods that reject ends neither the server nor the process", async () => {
  using unhandled = unhandledRejections();
  const called: string[] = [];
  const fail = (level: string) => async () => {
    called.push(level);
    await null;
    throw new Error("the log server is gone");
  };
  const app = (request: { uri: string }) => {
    if (request.uri === "/bad") throw new Error("no");
    return [200, "OK", {}, null] as const;
  };
  const logger = {
    debug: fail("debug"),
    info: fail("info"),
    warn: fail("warn"),
    error: fail("error"),
  };
  await using serving = serve(app, { logger });
  for (const request of ["GET /bad HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n"]) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(request);
    await peer.assertClosedSilently();
  }
  assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
  assertEquals(called.slice(0, 2), ["error", "info"]);
  await turnOfEventLoop();
  assertEquals(unhandled.reasons, []);
});
