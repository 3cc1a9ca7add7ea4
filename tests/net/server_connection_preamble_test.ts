/** Parsing requests from a stream of bytes, however the bytes are split. */
import { assertEquals } from "@std/assert";
import type { App, Session } from "@degu/degu/server";
import type { Socket } from "@degu/degu/base";
import { formatLabel } from "@degu/testing/expectations.ts";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { describeApp } from "../base/wire/requests.rows.ts";

const getRequest = "GET /a/b?c=d HTTP/1.1\r\nX-Mixed: AbC\r\n\r\n";
const lengthRequest = "PUT /length HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
const chunkedRequest =
  "POST /chunked HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;k=v\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const stream = getRequest + lengthRequest + chunkedRequest + getRequest;

/** Starts a server that counts the bytes that it has read. */
function serveCounting(app: App) {
  let readCount = 0;
  let nextRead = Promise.withResolvers<void>();
  const onConnect = (_session: Session, sock: Socket) => {
    const { read } = sock;
    sock.read = async (into) => {
      const count = await read.call(sock, into);
      readCount += count ?? 0;
      nextRead.resolve();
      return count;
    };
    return true;
  };
  /** Sends bytes, and waits until the server has read them. */
  const sendAndWait = async (peer: RawPeer, bytes: string) => {
    const expectedBytes = readCount + bytes.length;
    await peer.send(bytes);
    while (readCount < expectedBytes) {
      nextRead = Promise.withResolvers();
      await withTimeout(nextRead.promise, "the server takes what was sent");
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
  await using serving = serveCounting(describeApp);
  const expected = await requestInParts(serving, stream);
  assertEquals(expected.match(/HTTP\/1\.1 200 OK/g)?.length, 4);
  const uris = [...expected.matchAll(/\["[A-Z]+","([^"]*)"/g)].map(([, uri]) => uri);
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

Deno.test("an invalid first byte of a method closes the connection, without waiting for the rest", async () => {
  await using serving = serve(() => [200, "OK", {}, null], { timeout: null });
  for (let byte = 0; byte < 256; byte++) {
    const first = String.fromCharCode(byte);
    // An empty line may precede a request.
    if (/[-!#$%&'*+.^_`|~0-9A-Za-z\r]/.test(first)) continue;
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
});

Deno.test("one empty line before each request is skipped, however its bytes are split", async () => {
  await using serving = serveCounting(describeApp);
  const expected = await requestInParts(serving, stream);
  const padded = [getRequest, lengthRequest, chunkedRequest, getRequest]
    .map((request) => `\r\n${request}`).join("");
  assertEquals(await requestInParts(serving, padded), expected);
  assertEquals(await requestInParts(serving, ...padded), expected, "byte by byte");
  for (let at = 1; at < 60; at++) {
    const parts = [padded.slice(0, at), padded.slice(at)];
    assertEquals(await requestInParts(serving, ...parts), expected, `split at ${at}`);
  }
  // Some clients send an empty line after the body.
  assertEquals(await requestInParts(serving, `${stream}\r\n`), expected);
  assertEquals(serving.logger.messagesOf("info"), []);
});

Deno.test("after an empty line, a close is no error, and any other line end closes the connection", async () => {
  const rows = [["\r\n", 0], ["\r", 1], ["\r\nGET", 1], ["\r\n\r\n", 1], ["\n", 1], ["\r\r\n", 1]];
  for (const [sent, count] of rows as [string, number][]) {
    for (const isLater of [false, true]) {
      await using serving = serve(() => [204, "No Content", {}, null]);
      using peer = await RawPeer.connect(serving.address);
      if (isLater) {
        await peer.send(getRequest);
        await peer.readPreamble();
      }
      await peer.send(...sent);
      await peer.closeWrite();
      await peer.assertClosedSilently(formatLabel(sent));
      assertEquals(serving.logger.messagesOf("info").length, count, formatLabel(sent));
    }
  }
});
