/** Content of requests that an app can't read: what the client receives, the log, and the process. */
import type { BodyIn, ChunkedBody } from "@degu/degu/base";
import { reply, type Request, ResponseError, type ResponseTuple } from "@degu/degu";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { recordRejectionsUntil } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

const MAX_BYTES = 16_777_216;
const sink = () => new WritableStream<Uint8Array>();

type Read = (request: Request) => Promise<unknown>;
type Row = [name: string, read: Read];

async function iterate(values: AsyncIterable<unknown> | null): Promise<void> {
  for await (const _ of values ?? []);
}

const TEXT_READERS: Row[] = [
  ["request.text", (request) => request.text()],
  ["body.text", ({ body }) => body!.text()],
];
const JSON_READERS: Row[] = [
  ["request.json", (request) => request.json()],
  ["body.json", ({ body }) => body!.json()],
];
const READERS: Row[] = [
  ...TEXT_READERS,
  ...JSON_READERS,
  ["request.bytes", (request) => request.bytes()],
  ["body.bytes", ({ body }) => body!.bytes()],
  ["body.read", ({ body }) => body!.read()],
  ["body.writeTo", ({ body }) => body!.writeTo(sink())],
  ["the next item", ({ body }) => body![Symbol.asyncIterator]().next()],
];
const CHUNK_READERS: Row[] = [
  ["readChunk", async ({ body }) => {
    while ((await (body as ChunkedBody).readChunk())[1].length > 0);
  }],
  ["chunks", ({ body }) => iterate(body)],
  ["pieces of the stream", ({ readable }) => iterate(readable)],
];

/** Sends a request, and returns the status of its response and the lines of the log. */
async function findOutcome(request: string, app: (request: Request) => Promise<ResponseTuple>) {
  await using pair = await connectRawPeer(app, request);
  const preamble = await pair.peer.readPreamble();
  await pair.peer.closeWrite();
  await pair.peer.readToEnd();
  return { status: Number(preamble.split(" ")[1]), lines: pair.logger.lines };
}

function makeRows(
  label: string,
  status: number,
  request: string,
  readers: Row[],
): [name: string, status: number, request: string, read: Read][] {
  return readers.map(([name, read]) => [`${label}: ${name}`, status, request, read]);
}

const post = (content: string) =>
  `POST / HTTP/1.1\r\ncontent-length: ${content.length}\r\n\r\n${content}`;
const badChunk = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n55\r\nzz\r\n";
const announced = `POST / HTTP/1.1\r\ncontent-length: ${MAX_BYTES + 1}\r\n\r\n`;
const secret = '{"password":hunter2}';

Deno.test("content that isn't what an app reads causes 400 or 413, and one line of level info, with every reader of a request", async (t) => {
  const rows = [
    ...makeRows("no UTF-8", 400, post("\xff"), [...TEXT_READERS, ...JSON_READERS]),
    ...makeRows("no JSON", 400, post(secret), JSON_READERS),
    ...makeRows("too long", 413, announced, READERS.slice(0, -2)),
    ...makeRows("too long for the app", 413, post("ab"), [
      ["request.text", (request) => request.text({ maxBytes: 1 })],
      ["body.json", ({ body }) => body!.json({ maxBytes: 1 })],
    ]),
    ...makeRows("a bad chunk", 400, badChunk, [...READERS.slice(0, -1), ...CHUNK_READERS]),
  ];
  await testEachRow(t, rows, async (_name, status, request, read) => {
    const outcome = await findOutcome(request, async (received) => {
      await read(received);
      return reply(204);
    });
    assertEquals(outcome.status, status);
    const [[level, line] = ["error", ""], ...otherLines] = outcome.lines
      .filter(([level]) => level !== "debug");
    assertEquals([level, otherLines], ["info", []]);
    assertMatch(line, /^[^\n]+$/);
    assert(!line.includes("hunter2"), line);
  });
});

Deno.test("content that the body of a response can't read cuts the response, without a line of level error", async (t) => {
  const rows = [
    ...makeRows("no UTF-8", 200, post("\xff"), TEXT_READERS),
    ...makeRows("too long", 200, announced, TEXT_READERS),
  ];
  await testEachRow(t, rows, async (_name, status, request, read) => {
    async function* readText(received: Request) {
      yield `${await read(received)}`;
    }
    const outcome = await findOutcome(request, (received) => {
      return Promise.resolve([200, "OK", {}, readText(received)]);
    });
    assertEquals(outcome.status, status);
    assertEquals(outcome.lines.filter(([level]) => level === "error"), []);
  });
});

Deno.test("a read of a request that the app forgets doesn't end the process if its client sends an incomplete body; a promise that the app makes of it does", async (t) => {
  const framings = {
    "of known length": "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n",
    "in chunks": "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\n",
  };
  const rows = Object.entries(framings).flatMap(([label, request]) => {
    const isChunked = label === "in chunks";
    const readers = [...READERS, ...isChunked ? CHUNK_READERS.slice(0, 1) : []];
    // The other readers of chunks await each promise.
    const nextChunk: Read = ({ body }) => (body as ChunkedBody).readChunk();
    return readers.map(([name, read]) =>
      [`${name}, ${label}`, request, name === "readChunk" ? nextChunk : read] as const
    );
  });
  await testEachRow(t, rows, async (_name, request, read) => {
    const derived = new Error("derived");
    using rejections = recordRejectionsUntil(derived);
    const bodies: BodyIn[] = [];
    await using serving = serve((received) => {
      const isFirst = bodies.push(received.body) === 1;
      const content = read(received);
      if (!isFirst) content.catch(() => Promise.reject(derived));
      throw new ResponseError(reply(400));
    });
    for (const _ of ["forgotten", "derived"]) {
      using peer = await RawPeer.connect(serving.address, request);
      await peer.closeWrite();
      await peer.readToEnd();
    }
    assertEquals(await rejections.promise, [derived]);
  });
});
