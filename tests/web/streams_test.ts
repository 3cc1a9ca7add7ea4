/** Streams and headers through createFetch and fromFetchHandler. */
import { createFetch } from "@degu/degu";
import { ContentRange, Range, SuffixRange, UnsatisfiedRange } from "@degu/degu/base";
import { fromFetchHeaders, readAhead } from "@degu/internal/web/messages.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import * as sources from "@degu/testing/streams.ts";
import { serveHandler } from "@degu/testing/web_serving.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";

Deno.test("available bytes are read ahead, and no byte is lost from a late, long, failing or non-byte stream", async () => {
  const wholeText = await readAhead(
    sources.streamOf(encodeLatin1("a"), encodeLatin1(""), encodeLatin1("b")),
  );
  assert(!(wholeText instanceof ReadableStream));
  assertEquals(wholeText.map(decodeLatin1), ["a", "", "b"]);
  const readRest = async (stream: ReadableStream<Uint8Array>) => {
    const read = await readAhead(stream);
    assert(read instanceof ReadableStream);
    return read;
  };

  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const lateText = await readRest(
    new ReadableStream({ start: (streamController) => void (controller = streamController) }),
  );
  controller.enqueue(encodeLatin1("a"));
  controller.close();
  assertEquals((await Array.fromAsync(lateText)).map(decodeLatin1), ["a"]);

  const longText = await readRest(
    sources.streamOf(...Array.from({ length: 20 }, () => encodeLatin1("x"))),
  );
  assertEquals((await Array.fromAsync(longText)).length, 20);

  const nonByteStream = new sources.TrackedStream<unknown>([5, 6]);
  const pieces = await readRest(nonByteStream.stream as ReadableStream<Uint8Array>);
  assertEquals(await Array.fromAsync(pieces as ReadableStream<unknown>), [5, 6]);

  const failure = new Error("broken");
  const failingText = await readRest(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
  assertStrictEquals(
    await catchRejection(Array.fromAsync(failingText), "a failing stream"),
    failure,
  );

  const canceledStream = new sources.TrackedStream<unknown>([5, 6]);
  await (await readRest(canceledStream.stream as ReadableStream<Uint8Array>)).cancel(failure);
  assertEquals(canceledStream.cancelReasons, [failure]);
});

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

Deno.test("fromFetchHandler sends, and createFetch resolves with, a response before its body is available", async () => {
  const received = Promise.withResolvers<void>();
  await using serving = serveHandler(() => {
    const makeWords = async function* () {
      await withTimeout(received.promise, "fetch resolves");
      yield encoder.encode("hello");
    };
    return new Response(ReadableStream.from(makeWords()));
  });
  const response = await createFetch(serving.makeClient())("/");
  received.resolve();
  assertEquals(await response.text(), "hello");
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

Deno.test("a header value in an unsupported form is a RangeError that names it", () => {
  const invalidHeaders: Record<string, string[]> = {
    "content-length": ["", "+1", "-1", "1.0", "0x1", "1, 1", "1e3", "9007199254740993"],
    "range": ["", "bytes=0-*", "bytes=-", "bytes=0-1,3-4", "bytes=-1,0-1", "items", "bytes=2-1"],
    "content-range": ["", "bytes 0-1", "bytes */*", "bytes 0-5/5", "bytes *", "items"],
  };
  for (const [name, values] of Object.entries(invalidHeaders)) {
    for (const value of values) {
      const { message } = assertThrows(
        () => fromFetchHeaders(new Headers({ [name]: value })),
        RangeError,
      );
      assert(message.includes(`headers["${name}"]`) && message.includes(value), message);
    }
  }
});

Deno.test("a length and a range are parsed, and a range of another unit than bytes stays a text", () => {
  const rows: [name: string, value: string, parsed: unknown][] = [
    ["content-length", "007", 7],
    ["range", "bytes=2-4", new Range(2, 5)],
    ["range", "bytes=-3", new SuffixRange(3)],
    ["range", "items=0-1", "items=0-1"],
    ["content-range", "bytes 2-4/10", new ContentRange(2, 5, 10)],
    ["content-range", "bytes 2-4/*", new ContentRange(2, 5, null)],
    ["content-range", "bytes */10", new UnsatisfiedRange(10)],
    ["content-range", "items 0-1/2", "items 0-1/2"],
  ];
  for (const [name, value, parsed] of rows) {
    assertEquals(fromFetchHeaders(new Headers({ [name]: value }))[name], parsed as string, value);
  }
});
