/** How a session that ends gracefully closes: no reset overtakes its last response. */
import { assert, assertEquals } from "@std/assert";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("a session lingers for 1 s even if its timeout is shorter", async () => {
  const start = performance.now();
  await using serving = serve(() => [500, "Internal Server Error", {}, null], {
    timeout: 0.2,
    maxConnections: 1,
  });
  using first = await RawPeer.connect(serving.address);
  await first.send("GET / HTTP/1.1\r\n\r\n");
  assertEquals((await first.readToEnd()).how, "end");
  // The first keeps its place until it is closed, so the second is answered after that.
  using second = await RawPeer.connect(serving.address);
  await second.send("GET / HTTP/1.1\r\n\r\n");
  await second.readPreamble();
  const seconds = (performance.now() - start) / 1000;
  assert(seconds >= 1 && seconds < 1.8, `${seconds} s`);
});
