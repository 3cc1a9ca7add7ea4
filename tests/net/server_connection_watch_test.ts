/** Watching a client loses nothing of what it sends. */
import { assert, assertEquals } from "@std/assert";
import type { Session } from "@degu/degu/server";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

/** Resolves when the signal is aborted, to its reason. */
function aborted({ signal }: Session): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  if (signal.aborted) resolve(signal.reason);
  signal.addEventListener("abort", () => resolve(signal.reason));
  return within(promise, "the signal is aborted", 2);
}

Deno.test("watching a client loses none of the bytes that it sends meanwhile", async () => {
  const watched = new Set(["IPv4", "Unix path", "TLS over IPv4", "TLS over a Unix path"]);
  const kinds = endpointKinds.filter(({ name, available }) => available && watched.has(name));
  assertEquals(kinds.length, watched.size);
  await Promise.all(kinds.map(async (kind) => {
    await using endpoint = await kind.start(async ({ uri, body }, session) => {
      // From here on the connection is watched, a few times during this work.
      assert(!session.signal.aborted);
      if (uri === "/slow") await new Promise((resolve) => setTimeout(resolve, 900));
      return [200, "OK", {}, new TextEncoder().encode(uri + (await body?.text() ?? ""))];
    });
    using conn = await endpoint.client.connect();
    for (const [uri, text] of [["/1", "x"], ["/slow", "hello ".repeat(5_000)], ["/2", "y"]]) {
      const response = await conn.post(uri!, {}, new TextEncoder().encode(text));
      assertEquals(await response.body?.text(), `${uri}${text}`);
    }
  }));
});

Deno.test("requests that arrive, whole or in part, while a client is watched are answered in order", async () => {
  const watched = Promise.withResolvers<void>();
  await using serving = serve(async ({ uri, body }, session) => {
    assert(!session.signal.aborted);
    if (uri === "/1") {
      await watched.promise;
      await new Promise((resolve) => setTimeout(resolve, 900));
    }
    return [200, "OK", { uri }, await body?.bytes() ?? null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT /1 HTTP/1.1\r\ncontent-length: 3\r\n\r\none");
  await peer.send("PUT /2 HTTP/1.1\r\ncontent-length: 3\r\n\r\ntwoPUT /3 HTTP/1.1\r\n");
  watched.resolve();
  const answer = (uri: string, text: string) =>
    `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\nuri: ${uri}\r\n\r\n${text}`;
  assertEquals(await peer.readUntil("two"), answer("/1", "one") + answer("/2", "two"));
  await peer.send("content-length: 5\r\n\r\nthree");
  assertEquals(await peer.readUntil("three"), answer("/3", "three"));
});

Deno.test("a request that arrives after a client was watched behind a large body is not lost", async () => {
  // The large body has made the buffer large; it must not be made small under a read that is under way.
  await using serving = serve(async ({ uri, body }, session) => {
    assert(!session.signal.aborted);
    let left = 2 * 1048576;
    await body?.writeTo({
      pieceBytes: 1048576,
      async write(bytes) {
        left -= bytes.length;
        if (left > 0 || uri !== "/large") return;
        await new Promise((resolve) => setTimeout(resolve, 900));
      },
    });
    return [200, "OK", { uri }, null];
  });
  using peer = await RawPeer.connect(serving.address);
  const chunk = `100000\r\n${"x".repeat(1048576)}\r\n`;
  await peer.send("PUT /large HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
  await peer.send(chunk, chunk, "0\r\n\r\n");
  for (const uri of ["/large", "/next"]) {
    const answer = `HTTP/1.1 200 OK\r\nuri: ${uri}\r\n\r\n`;
    assertEquals(await peer.readExactly(answer.length), answer);
    if (uri === "/large") await peer.send("GET /next HTTP/1.1\r\n\r\n");
  }
});

Deno.test("watching a client while onConnect is pending loses nothing that it sends", async () => {
  const waited = Promise.withResolvers<void>();
  await using serving = serve({
    async onConnect({ signal }) {
      assert(!signal.aborted);
      await waited.promise;
      return true;
    },
    handle: async ({ body }) => [200, "OK", {}, await body!.bytes()],
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhe");
  // Until then it has been looked at, with what is here and with what is not yet.
  await new Promise((resolve) => setTimeout(resolve, 900));
  await peer.send("l");
  waited.resolve();
  await peer.send("lo");
  assertEquals(
    await peer.readUntil("hello"),
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  );
});

Deno.test("reading ahead keeps the time limit of the wait for a body", async () => {
  const framings = ["content-length: 5", "transfer-encoding: chunked"];
  await Promise.all(framings.map(async (framing) => {
    const begun = Promise.withResolvers<void>();
    await using serving = serve(async ({ body }, session) => {
      assert(!session.signal.aborted);
      // Long enough for the connection to be watched.
      await new Promise((resolve) => setTimeout(resolve, 600));
      begun.resolve();
      await body?.bytes();
      return [200, "OK", {}, null];
    }, { timeout: 0.5 });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`PUT / HTTP/1.1\r\n${framing}\r\n\r\n`);
    await within(begun.promise, "the body is read");
    await peer.assertClosedSilently(framing);
    const [message] = await serving.logger.waitFor("info");
    assert(message?.includes("TimedOut"), `${framing}: ${message}`);
  }));
});

Deno.test("a reset aborts the signal even after a read was abandoned", async () => {
  const reasons: unknown[] = [];
  const ended = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  await using serving = serve(async ({ body }, session) => {
    const reading = body?.read().catch(() => {});
    await body?.cancel();
    await reading;
    cancelled.resolve();
    reasons.push(await aborted(session));
    ended.resolve();
    return [400, "Bad Request", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 100\r\n\r\n");
  await within(cancelled.promise, "the body is canceled");
  peer.close();
  await within(ended.promise, "the app ends");
  assertEquals(reasons.length, 1);
});
