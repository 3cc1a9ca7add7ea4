/** What a server does where its logger fails. */
import { assertEquals } from "@std/assert";
import { RawPeer } from "./support/raw_peer.ts";
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
