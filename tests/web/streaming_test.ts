/** Bodies through the bridge: they stream in both directions, and nothing waits for the whole body. */
import { assert, assertEquals } from "@std/assert";
import { type Address, BodyIter, type BodyOut, type Chunk, ChunkedBodyIter } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { App, AppFunction } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { serveHandler, serveWithDeno } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const WORDS = ["one", "two", "three", "four"];
const TEXT = WORDS.join("");

/** Words on their way from one side to the other; each is given when the one before has arrived. */
class Relay {
  readonly #arrived = WORDS.map(() => Promise.withResolvers<void>());

  /** Gives the words. */
  async *send(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    for (const [i, word] of WORDS.entries()) {
      const before = this.#arrived[i - 1];
      if (before !== undefined) await within(before.promise, `"${WORDS[i - 1]}" arrives alone`);
      yield encoder.encode(word);
    }
  }

  /** Gives the words as chunks. */
  async *sendChunks(): AsyncGenerator<Chunk, void, void> {
    for await (const bytes of this.send()) yield [null, bytes];
    yield [null, new Uint8Array(0)];
  }

  /** Gives the words as a stream. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from(this.send());
  }

  /** Takes what arrives; resolves to all of it. */
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

/** The ways to say where a stream of words ends, as headers of a Request or Response. */
const framings: readonly (readonly [name: string, headers: Record<string, string>])[] = [
  ["chunked", {}],
  ["of known length", { "content-length": String(TEXT.length) }],
];

const handlerThatReads = (relay: Relay) => async (request: Request) =>
  new Response(await relay.receive(request.body!));

const appThatReads = (relay: Relay): AppFunction => async (request) => {
  const text = await relay.receive(request.body!.readable);
  return [200, "OK", {}, encoder.encode(text)];
};

const bodies: readonly [name: string, make: (relay: Relay) => BodyOut][] = [
  ["chunked", (relay) => new ChunkedBodyIter(relay.sendChunks())],
  ["of known length", (relay) => new BodyIter(relay.send(), TEXT.length)],
];

/** Our server, and Deno's with `toFetchHandler`. */
const servers: Readonly<Record<string, (app: App) => AsyncDisposable & { address: Address }>> = {
  "our server": (app) => serve(app),
  "Deno.serve": (app) => serveWithDeno(app),
};

Deno.test("fromFetchHandler streams requests", async (t) => {
  for (const [name, make] of bodies) {
    await t.step(name, async () => {
      const relay = new Relay();
      await using serving = serveHandler(handlerThatReads(relay));
      const response = await serving.makeClient().request("POST", "/", {}, make(relay));
      assertEquals(await response.body?.text(), TEXT);
    });
  }
});

Deno.test("fromFetchHandler does not wait for the rest of a chunk", async () => {
  const relay = new Relay();
  await using serving = serveHandler(handlerThatReads(relay));
  using peer = await RawPeer.connect(serving.address);
  const size = TEXT.length.toString(16);
  await peer.send(`POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${size}\r\n`);
  for await (const bytes of relay.send()) await peer.send(bytes);
  await peer.send("\r\n0\r\n\r\n");
  await peer.readPreamble();
  assertEquals(await peer.readExactly(TEXT.length), TEXT);
});

Deno.test("fromFetchHandler streams responses", async (t) => {
  for (const [name, headers] of framings) {
    await t.step(name, async () => {
      const relay = new Relay();
      const handler = () => new Response(relay.stream(), { headers });
      await using serving = serveHandler(handler);
      const response = await serving.makeClient().request("GET", "/");
      assertEquals(await relay.receive(response.body!.readable), TEXT);
    });
  }
});

Deno.test("fromFetchHandler sends the headers before the body is available", async () => {
  const received = Promise.withResolvers<void>();
  await using serving = serveHandler(() => {
    const words = async function* () {
      await within(received.promise, "the client gets the headers");
      yield encoder.encode("hello");
    };
    return new Response(ReadableStream.from(words()));
  });
  const response = await serving.makeClient().request("GET", "/");
  received.resolve();
  assertEquals(await response.body?.text(), "hello");
});

for (const [where, start] of Object.entries(servers)) {
  Deno.test(`createFetch streams requests to ${where}`, async (t) => {
    for (const [name, headers] of framings) {
      await t.step(name, async () => {
        const relay = new Relay();
        await using server = start(appThatReads(relay));
        // Not by Deno's fetch, which has no content-length for a stream.
        const fetch = createFetch(new Client(server.address));
        const response = await fetch("/", { method: "POST", body: relay.stream(), headers });
        assertEquals(await response.text(), TEXT);
      });
    }
  });

  Deno.test(`createFetch streams responses from ${where}`, async (t) => {
    for (const [name, make] of bodies) {
      await t.step(name, async () => {
        const relay = new Relay();
        await using server = start(() => [200, "OK", {}, make(relay)]);
        const response = await createFetch(new Client(server.address))("/");
        assertEquals(await relay.receive(response.body!), TEXT);
      });
    }
  });
}

Deno.test("createFetch resolves with the response before the body is available", async () => {
  const received = Promise.withResolvers<void>();
  await using serving = serve(() => {
    const words = async function* (): AsyncGenerator<Chunk> {
      await within(received.promise, "fetch resolves");
      yield [null, encoder.encode("hello")];
      yield [null, new Uint8Array(0)];
    };
    return [200, "OK", {}, new ChunkedBodyIter(words())];
  });
  const response = await createFetch(serving.makeClient())("/");
  received.resolve();
  assertEquals(await response.text(), "hello");
});

/** Far more than all buffers between the two ends can hold. */
const MANY = 128;
const PIECE_BYTES = 1048576;
/** So many turns of the event loop without another piece are the sign that everything is full. */
const QUIET_TURNS = 20;

Deno.test("a response is produced no faster than it is read", async () => {
  let made = 0;
  const body = () =>
    new ReadableStream({
      pull(controller) {
        if (made++ < MANY) controller.enqueue(new Uint8Array(PIECE_BYTES));
        else controller.close();
      },
    });
  await using serving = serveHandler(() => new Response(body()));
  const response = await createFetch(serving.makeClient())("/");
  for (let quiet = 0, before = -1; quiet < QUIET_TURNS; quiet++) {
    if (made !== before) quiet = 0;
    before = made;
    await turnOfEventLoop();
  }
  assert(made < MANY / 2, `${made} of ${MANY} pieces were made before one was read`);
  let length = 0;
  for await (const piece of response.body!) length += piece.length;
  assertEquals(length, MANY * PIECE_BYTES);
});

Deno.test("a request is consumed no faster than it is read", async () => {
  let taken = 0;
  const read = Promise.withResolvers<void>();
  await using serving = serveHandler(async (request) => {
    await read.promise;
    let length = 0;
    for await (const piece of request.body!) length += piece.length;
    return new Response(String(length));
  });
  const body = new ReadableStream({
    pull(controller) {
      if (taken++ < MANY) controller.enqueue(new Uint8Array(PIECE_BYTES));
      else controller.close();
    },
  });
  const responding = createFetch(serving.makeClient())("/", { method: "POST", body });
  for (let quiet = 0, before = -1; quiet < QUIET_TURNS; quiet++) {
    if (taken !== before) quiet = 0;
    before = taken;
    await turnOfEventLoop();
  }
  assert(taken < MANY / 2, `${taken} of ${MANY} pieces were taken before one was read`);
  read.resolve();
  assertEquals(await (await responding).text(), String(MANY * PIECE_BYTES));
});
