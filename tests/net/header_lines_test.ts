/** Lines of one name, which are one list (RFC 9110 §5.3), and `set-cookie`, which is no list. */
import { assertEquals } from "@std/assert";
import type { HeadersToSend } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("set-cookie is sent as a line for each item of a list, or one for a text", async () => {
  const rows: readonly (readonly [HeadersToSend["set-cookie"], lines: string])[] = [
    [
      ["a=1; expires=Wed, 21 Oct 2026", "b=2"],
      "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n",
    ],
    [["a=1"], "set-cookie: a=1\r\n"],
    ["a=1, b=2", "set-cookie: a=1, b=2\r\n"],
    [[], ""],
    [undefined, ""],
  ];
  for (const [value, lines] of rows) {
    await using serving = serve(() => [204, "No Content", { "set-cookie": value }, null]);
    const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
    assertEquals(received, `HTTP/1.1 204 No Content\r\n${lines}\r\n`);
    using pair = await connect();
    const responding = pair.conn.get("/", { "set-cookie": value });
    assertEquals(
      await pair.peer.respond("HTTP/1.1 204 No Content\r\n\r\n"),
      `GET / HTTP/1.1\r\n${lines}\r\n`,
    );
    await responding;
  }
});

Deno.test("received headers can be sent again", async () => {
  await using serving = serve(({ headers }) => [204, "No Content", headers, null]);
  const lines = "cookie: a=1; b=2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx: \r\n";
  const { received } = await exchange(serving.address, `GET / HTTP/1.1\r\n${lines}\r\n`);
  assertEquals(received, `HTTP/1.1 204 No Content\r\n${lines}\r\n`);
});

Deno.test("ProxyApp forwards each set-cookie as its own line, and joined lines of other names", async () => {
  await using pair = await connectThrough();
  await pair.clientPeer.send(
    "GET / HTTP/1.1\r\ncookie: a=1\r\ncookie: b=2\r\naccept: a\r\naccept: b\r\n\r\n",
  );
  const cookies = "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n";
  const peer = await pair.upstream.accept();
  assertEquals(
    await peer.respond(`HTTP/1.1 204 No Content\r\n${cookies}vary: a\r\nvary: b\r\n\r\n`),
    "GET / HTTP/1.1\r\naccept: a, b\r\ncookie: a=1; b=2\r\n\r\n",
  );
  assertEquals(
    await pair.clientPeer.readPreamble(),
    `HTTP/1.1 204 No Content\r\n${cookies}vary: a, b\r\n\r\n`,
  );
});
