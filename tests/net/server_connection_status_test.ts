/** Which responses a server refuses to send although each part of them is valid. */
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("a 204 with content-length or transfer-encoding is refused, even for HEAD", async (t) => {
  for (const method of ["GET", "HEAD"]) {
    for (const headers of [{ "content-length": 5 }, { "transfer-encoding": "chunked" }]) {
      await t.step(`${method} ${Deno.inspect(headers)}`, async () => {
        await using serving = serve(() => [204, "No Content", { ...headers }, null]);
        using peer = await RawPeer.connect(serving.address);
        await peer.send(`${method} / HTTP/1.1\r\n\r\n`);
        await peer.closeWrite();
        await peer.assertClosedSilently();
        await serving.logger.waitFor("error");
      });
    }
  }
});
