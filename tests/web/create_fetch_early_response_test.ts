/** createFetch: responses that arrive while the request's stream is being sent. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import { Client, createFetch } from "@degu/degu";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

function start(server: RawServer, init: RequestInit = {}) {
  const canceled = Promise.withResolvers<unknown>();
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start: (given) => void (controller = given),
    cancel: (reason) => canceled.resolve(reason),
  });
  controller.enqueue(encodeLatin1("hello"));
  const fetch = createFetch(new Client(server.address));
  const responding = fetch("/", { method: "PUT", body, duplex: "half", ...init } as RequestInit);
  return { responding, controller, canceled: canceled.promise };
}

Deno.test("fetch resolves to an early refusal, and cancels the request's stream", async () => {
  using server = new RawServer();
  const { responding, canceled } = start(server);
  const peer = await server.accept();
  await peer.readUntil("hello\r\n");
  await peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno");
  const response = await withTimeout(responding, "the refusal");
  assertEquals([response.status, await response.text()], [413, "no"]);
  await withTimeout(canceled, "the stream is canceled");
  await peer.assertClosedSilently();
});

Deno.test("an abort of a fetch after its early response ends both streams, and an early redirect of a stream is an error", async () => {
  {
    using server = new RawServer();
    const abort = new AbortController();
    const { responding, canceled } = start(server, { signal: abort.signal });
    const peer = await server.accept();
    await peer.readUntil("hello\r\n");
    await peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    const text = catchRejection((await responding).text(), "the body");
    abort.abort();
    await withTimeout(canceled, "the stream is canceled");
    assertInstanceOf(await text, DOMException);
  }
  {
    using server = new RawServer();
    const { responding, canceled } = start(server);
    const peer = await server.accept();
    await peer.readUntil("hello\r\n");
    await peer.send("HTTP/1.1 307 Temporary Redirect\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n");
    assertInstanceOf(await catchRejection(responding, "the redirect"), TypeError);
    await withTimeout(canceled, "the stream is canceled");
  }
});
