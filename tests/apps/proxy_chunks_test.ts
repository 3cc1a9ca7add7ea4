/** ProxyApp: how often a relayed chunk is scanned. */
import { assertEquals } from "@std/assert";
import { connectThrough } from "@degu/testing/proxies.ts";
import { countLines } from "@degu/testing/chunk_lines.ts";

Deno.test("ProxyApp scans each chunk once, in requests and in responses", async () => {
  const chunks = "3;key=value\r\nabc\r\n".repeat(50) + "0\r\n\r\n";
  const lines = 51;
  const request = `POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`;
  const response = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`;
  await using through = await connectThrough();
  const uploading = await countLines(async () => {
    await through.near.send(request);
    const far = await through.upstream.accept();
    assertEquals(await far.readExactly(request.length), request);
    assertEquals(
      await countLines(async () => {
        await far.send(response);
        assertEquals(await through.near.readExactly(response.length), response);
      }),
      lines,
    );
  });
  assertEquals(uploading, 2 * lines);
});
