/** Parsing requests from a stream of bytes, however the bytes are split. */
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { type Chunk, ChunkedBody } from "@degu/degu/base";
import type { App, Request, Session, Socket } from "@degu/degu/server";
import { formatLabel } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const getRequest = "GET /a/b?c=d HTTP/1.1\r\nX-Mixed: AbC\r\n\r\n";
const lengthRequest = "PUT /length HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
const chunkedRequest =
  "POST /chunked HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;k=v\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const stream = getRequest + lengthRequest + chunkedRequest + getRequest;

/** Formats all parts of a request as one line. */
async function describeRequest(
  { method, uri, headers, body, path, query }: Request,
): Promise<string> {
  const content: unknown[] = [];
  if (body instanceof ChunkedBody) {
    for await (const [extension, data] of body as AsyncIterable<Chunk>) {
      content.push([extension, new TextDecoder().decode(data)]);
    }
  } else if (body !== null) {
    content.push(await body.text());
  }
  return JSON.stringify({ method, uri, headers, path, query, content });
}

const describingApp: App = async (
  request,
) => [200, "OK", {}, encodeLatin1(await describeRequest(request))];

/** Starts a server that counts the bytes that it has read. */
function serveCounting(app: App) {
  let readBytes = 0;
  let bytesRead = Promise.withResolvers<void>();
  const onConnect = (_session: Session, sock: Socket) => {
    const { read } = sock;
    sock.read = async (into) => {
      const count = await read.call(sock, into);
      readBytes += count ?? 0;
      bytesRead.resolve();
      return count;
    };
    return true;
  };
  /** Sends bytes, and waits until the server has read them. */
  const sendAndWait = async (peer: RawPeer, bytes: string) => {
    const expectedBytes = readBytes + bytes.length;
    await peer.send(bytes);
    while (readBytes < expectedBytes) {
      bytesRead = Promise.withResolvers();
      await withTimeout(bytesRead.promise, "the server takes what was sent");
    }
  };
  const handle = typeof app === "function" ? app : app.handle;
  return Object.assign(serve({ handle, onConnect }), { give: sendAndWait });
}

type CountingServing = ReturnType<typeof serveCounting>;

/**
 * Sends the parts, each once the server has read the previous one, and closes; returns the
 * responses.
 */
async function requestInParts(serving: CountingServing, ...parts: string[]): Promise<string> {
  using peer = await RawPeer.connect(serving.address);
  for (const part of parts.slice(0, -1)) await serving.give(peer, part);
  await peer.send(parts.at(-1)!);
  await peer.closeWrite();
  return (await peer.readToEnd()).received;
}

Deno.test("requests are parsed the same however their bytes are split, and complete requests get responses in order", async () => {
  await using serving = serveCounting(describingApp);
  const expected = await requestInParts(serving, stream);
  assertEquals(expected.match(/HTTP\/1\.1 200 OK/g)?.length, 4);
  const uris = [...expected.matchAll(/"uri":"([^"]*)"/g)].map(([, uri]) => uri);
  assertEquals(uris, ["/a/b?c=d", "/length", "/chunked", "/a/b?c=d"]);
  const requests = [getRequest, lengthRequest, chunkedRequest, getRequest];
  const endPositions = requests.map((_, i) => requests.slice(0, i + 1).join("").length);
  for (let at = 1; at < stream.length; at++) {
    const [first, rest] = [stream.slice(0, at), stream.slice(at)];
    assertEquals(await requestInParts(serving, first, rest), expected, `split at ${at}`);
    const completeCount = endPositions.filter((end) => end <= at).length;
    const responses = await requestInParts(serving, first);
    assertEquals(
      responses.match(/HTTP\/1\.1 200 OK/g)?.length ?? 0,
      completeCount,
      `cut after ${at}`,
    );
  }
  assertEquals(await requestInParts(serving, ...stream), expected, "byte by byte");
  assertEquals(serving.logger.messagesOf("error"), []);
});

// tests/base/wire/sockets_test.ts and tests/integration/smuggling_test.ts have the refused bytes.
Deno.test("an invalid first byte of a method closes the connection, without waiting for the rest", async () => {
  await using serving = serve(() => [200, "OK", {}, null], { timeout: null });
  for (let byte = 0; byte < 256; byte++) {
    const first = String.fromCharCode(byte);
    if (/[-!#$%&'*+.^_`|~0-9A-Za-z]/.test(first)) continue;
    // The same byte is refused as the first byte of a later request.
    for (const earlierRequest of ["", "GET / HTTP/1.1\r\n\r\n"]) {
      using peer = await RawPeer.connect(serving.address);
      if (earlierRequest !== "") {
        await peer.send(earlierRequest);
        await peer.readPreamble();
      }
      await peer.send(first);
      await peer.assertClosedSilently(
        `${formatLabel(first)} behind ${formatLabel(earlierRequest)}`,
      );
    }
  }
  // A word that is longer than any method, or has an invalid byte.
  for (const start of ["A".repeat(65), "GETTER/", "SSH:", "GET\t", "GET\n", "GET\r"]) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(start);
    await peer.assertClosedSilently(start);
  }
  using together = await RawPeer.connect(serving.address);
  await together.send("GET / HTTP/1.1\r\n\r\n(");
  assertEquals(
    (await together.readToEnd()).received,
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
  );
  assertEquals([serving.logger.messagesOf("warn"), serving.logger.messagesOf("error")], [[], []]);
  for (const method of ["GET", "HEAD", "DELETE", "PUT", "POST"]) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(method.slice(0, 1));
    await waitForTick();
    await peer.send(`${method.slice(1)} / HTTP/1.1\r\n\r\n`);
    const length = method === "HEAD" ? "" : "content-length: 0\r\n";
    assertEquals(await peer.readPreamble(), `HTTP/1.1 200 OK\r\n${length}\r\n`, method);
  }
});

Deno.test("a preamble of 32768 bytes is read, and a longer preamble is refused", async () => {
  await using serving = serveCounting(({ headers }) => {
    return [200, "OK", { "a-length": `${String(headers["a"]).length}` }, null];
  });
  const start = "GET / HTTP/1.1\r\na: ";
  for (const extra of [0, 1]) {
    // The count restarts after each message.
    for (const earlierRequest of ["", "GET /?first HTTP/1.1\r\na: b\r\n\r\n"]) {
      const value = "b".repeat(32768 - start.length - 4 + extra);
      const received = await requestInParts(serving, `${earlierRequest}${start}${value}\r\n\r\n`);
      assertEquals(received.includes(`a-length: ${value.length}\r\n`), extra === 0);
      assertEquals(received.endsWith(formatErrorResponse(431)), extra === 1);
    }
  }
  // The end of the preamble would exceed the limit.
  using peer = await RawPeer.connect(serving.address);
  await peer.send(start.padEnd(32768, "b"));
  assertEquals((await peer.readToEnd()).received, formatErrorResponse(431));
});

Deno.test("a server refuses a request target that is too long with 431", async () => {
  await using serving = serve(({ uri }) => [200, "OK", { "a-length": `${uri.length}` }, null]);
  const maxUriLength = 32768 - "GET  HTTP/1.1\r\n\r\n".length;
  for (
    const [length, isRead] of [[8000, true], [maxUriLength, true], [
      maxUriLength + 1,
      false,
    ]] as const
  ) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`GET /${"a".repeat(length - 1)} HTTP/1.1\r\n\r\n`);
    const lines = `a-length: ${length}\r\ncontent-length: 0\r\n`;
    const expected = isRead ? `HTTP/1.1 200 OK\r\n${lines}\r\n` : formatErrorResponse(431);
    assertEquals(await peer.readExactly(expected.length), expected);
  }
});

Deno.test("a request contains exactly the parts that were sent", async () => {
  const requests: Request[] = [];
  await using pair = await connectRawPeer(
    (request) => (requests.push(request), [200, "OK", {}, null]),
    "GET /foo/bar/?k=v HTTP/1.1\r\nRange: bytes=2-4\r\nproto: x\r\n" +
      "constructor: c\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
  );
  await pair.peer.readPreamble();
  const request = requests[0]!;
  const { method, uri, headers, body, mount, path, query } = request;
  assertEquals([method, uri, body, query], ["GET", "/foo/bar/?k=v", null, "k=v"]);
  assertEquals([mount, path], [[], ["foo", "bar", ""]]);
  assertStrictEquals(Object.getPrototypeOf(headers), null);
  const { range, ...otherHeaders } = headers;
  assertEquals(String(range), "bytes=2-4");
  assertEquals<unknown>(otherHeaders, {
    proto: "x",
    constructor: "c",
    connection: "close",
    expect: "100-continue",
  });
  const output = Deno.inspect(request);
  assert(/^Request\(method="GET", uri="\/foo\/bar\/\?k=v", headers=\{/.test(output), output);
});
