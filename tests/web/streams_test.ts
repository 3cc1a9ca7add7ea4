/** Streams through createFetch and fromFetchHandler, and early responses to them. */
import { Client, createFetch } from "@degu/degu";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { serveHandler } from "@degu/testing/web_serving.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { catchRejection } from "@degu/testing/expectations.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

// Bodies through the adapters: they stream in both directions, without waiting for the whole body.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const WORDS = ["one", "two", "three", "four"];
const TEXT = WORDS.join("");

/** Words that are sent to the other side, each when the previous word has arrived. */
class WordRelay {
  readonly #arrived = WORDS.map(() => Promise.withResolvers<void>());

  async *send(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    for (const [i, word] of WORDS.entries()) {
      const previous = this.#arrived[i - 1];
      if (previous !== undefined) {
        await withTimeout(previous.promise, `"${WORDS[i - 1]}" arrives alone`);
      }
      yield encoder.encode(word);
    }
  }

  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from(this.send());
  }

  /** Reads the pieces; resolves to the whole text. */
  async receive(pieces: AsyncIterable<Uint8Array>): Promise<string> {
    let text = "";
    for await (const piece of pieces) {
      text += decoder.decode(piece);
      for (const [i, { resolve }] of this.#arrived.entries()) {
        if (text.length >= WORDS.slice(0, i + 1).join("").length) resolve();
      }
    }
    return text;
  }
}

const makeReadingHandler = (relay: WordRelay) => async (request: Request) =>
  new Response(await relay.receive(request.body!));

Deno.test("createFetch and fromFetchHandler stream requests and responses", async (t) => {
  const framings = { chunked: {}, "of known length": { "content-length": `${TEXT.length}` } };
  for (const [framing, headers] of Object.entries(framings)) {
    await t.step(`a request ${framing}`, async () => {
      const relay = new WordRelay();
      await using serving = serveHandler(makeReadingHandler(relay));
      const fetch = createFetch(serving.makeClient());
      const response = await fetch("/", { method: "POST", body: relay.stream(), headers });
      assertEquals(await response.text(), TEXT);
    });
    await t.step(`a response ${framing}`, async () => {
      const relay = new WordRelay();
      await using serving = serveHandler(() => new Response(relay.stream(), { headers }));
      const response = await createFetch(serving.makeClient())("/");
      assertEquals(await relay.receive(response.body!), TEXT);
    });
  }
});

Deno.test("fromFetchHandler does not wait for the rest of a chunk", async () => {
  const relay = new WordRelay();
  await using serving = serveHandler(makeReadingHandler(relay));
  using peer = await RawPeer.connect(serving.address);
  const size = TEXT.length.toString(16);
  await peer.send(`POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${size}\r\n`);
  for await (const bytes of relay.send()) await peer.send(bytes);
  await peer.send("\r\n0\r\n\r\n");
  await peer.readPreamble();
  assertEquals(await peer.readExactly(TEXT.length), TEXT);
});

/** Far more pieces than all buffers between client and server can hold. */
const MANY = 48;
const PIECE_BYTES = 1048576;
/** The buffers count as full after this many ticks of the event loop without another piece. */
const QUIET_TURNS = 20;

async function waitUntilQuiet(count: () => number): Promise<void> {
  for (let quietTicks = 0, previousCount = -1; quietTicks < QUIET_TURNS; quietTicks++) {
    if (count() !== previousCount) quietTicks = 0;
    previousCount = count();
    await waitForTick();
  }
}

/** Makes a stream of MANY pieces, and counts the pieces that were read. */
function makeLargeStream() {
  const source = { taken: 0, stream: new ReadableStream<Uint8Array<ArrayBuffer>>() };
  source.stream = new ReadableStream({
    pull(controller) {
      if (source.taken++ < MANY) controller.enqueue(new Uint8Array(PIECE_BYTES));
      else controller.close();
    },
  });
  return source;
}

async function countBytes(stream: ReadableStream<Uint8Array>): Promise<number> {
  let length = 0;
  for await (const piece of stream) length += piece.length;
  return length;
}

Deno.test("a response is produced, and a request consumed, no faster than it is read", async () => {
  const [upload, download] = [makeLargeStream(), makeLargeStream()];
  const readAllowed = Promise.withResolvers<void>();
  await using serving = serveHandler(async ({ body }) => {
    if (body === null) return new Response(download.stream);
    await readAllowed.promise;
    return new Response(`${await countBytes(body)}`);
  });
  const fetch = createFetch(serving.makeClient());
  const response = await fetch("/");
  await waitUntilQuiet(() => download.taken);
  assert(
    download.taken < MANY / 2,
    `${download.taken} of ${MANY} pieces were made before one was read`,
  );
  assertEquals(await countBytes(response.body!), MANY * PIECE_BYTES);

  const responding = fetch("/", { method: "POST", body: upload.stream });
  await waitUntilQuiet(() => upload.taken);
  assert(
    upload.taken < MANY / 2,
    `${upload.taken} of ${MANY} pieces were taken before one was read`,
  );
  readAllowed.resolve();
  assertEquals(await (await responding).text(), `${MANY * PIECE_BYTES}`);
});

// Converting headers in both directions.

// createFetch: responses that arrive while the request's stream is being sent.

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
