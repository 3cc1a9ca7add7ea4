/** The live pictures of the examples, for viewers that are fast, slow and gone. */
import { type Chunk, Client, Latest, Server } from "@degu/degu";
import { assertNeeded, startExample } from "@degu/testing/examples.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { liveApp, watch } from "@degu/internal/examples/live.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

const LIVE = "examples/live.ts";
const PICTURE_BYTES = 262_144;
/** So many pictures fit into no buffer of a connection. */
const PICTURES = 200;

/** A picture with its number, which other pictures don't have. */
function picture(number: number): Chunk {
  const data = new Uint8Array(PICTURE_BYTES);
  new DataView(data.buffer).setUint32(0, number);
  return [null, data];
}

const numberOf = (data: Uint8Array) => new DataView(data.buffer, data.byteOffset).getUint32(0);

/** Hands pictures on, and tells when a viewer no longer reads. */
class Watched implements AsyncIterable<Chunk> {
  readonly left = Promise.withResolvers<void>();

  constructor(readonly pictures: Latest<Chunk>) {}

  [Symbol.asyncIterator](): AsyncIterator<Chunk> {
    const iterator = this.pictures[Symbol.asyncIterator]();
    return {
      next: () => iterator.next(),
      return: () => {
        this.left.resolve();
        return iterator.return!();
      },
    };
  }
}

Deno.test("a slow viewer misses pictures and gets the newest, and a fast one gets each of them meanwhile", async () => {
  const pictures = new Latest<Chunk>();
  await using server = await Server.start(["127.0.0.1", 0], liveApp(pictures));
  const client = new Client(server.address);
  pictures.set(picture(1));
  using slow = await client.connect();
  const slowBody = (await slow.get("/")).body;
  assert(slowBody?.chunked);

  const leaving = new AbortController();
  const seen: number[] = [];
  await watch(client, (data) => {
    seen.push(numberOf(data));
    if (seen.length === PICTURES) leaving.abort();
    else pictures.set(picture(seen.length + 1));
  }, leaving.signal);
  assertEquals(seen, Array.from({ length: PICTURES }, (_, i) => i + 1));

  const late: number[] = [];
  while (late.at(-1) !== PICTURES) late.push(numberOf((await slowBody.readChunk())[1]));
  assertEquals(late, late.toSorted((a, b) => a - b));
  assert(late.length < PICTURES / 2, `it got ${late.length} of ${PICTURES} pictures`);
});

Deno.test("when a viewer leaves, its iteration ends, though no picture comes any more", async () => {
  const watched = new Watched(new Latest<Chunk>());
  watched.pictures.set(picture(1));
  await using server = await Server.start(["127.0.0.1", 0], liveApp(watched));
  const conn = await new Client(server.address).connect();
  const { body } = await conn.get("/");
  assert(body?.chunked);
  assertEquals(numberOf((await body.readChunk())[1]), 1);
  conn.close();
  await within(watched.left.promise, "its iteration ends", 60);
});

Deno.test("a viewer connects again when the camera was off, and both end when they are told to", async () => {
  await using dir = await tempDir();
  const [port, audit] = [`${await unusedPort()}`, `${dir.path}/audit`];
  const camera = () => startExample(LIVE, { args: ["serve", port], audit });
  await using first = await camera();
  await first.printed(/^The pictures are at .*\n/m);
  await using viewer = await startExample(LIVE, { args: ["watch", port] });
  await viewer.printed(/^\d{4}-.*Z\n\d{4}-.*Z\n/m);
  first.kill();
  await first.child.status;
  const killed = Date.now();
  await viewer.complained(/next run in 1 s\n/);
  await using second = await camera();
  while (Date.parse(await viewer.printed(/^\d{4}-.*Z$/m)) < killed);

  const { headers, body } = await new Client(["127.0.0.1", Number(port)]).request("GET", "/");
  assertEquals(headers["content-type"], "text/plain");
  second.child.kill("SIGTERM");
  assertMatch(await body!.text(), /^(\d{4}-.*Z\n)+$/, "its body is complete");
  assert((await second.ended()).success);
  viewer.child.kill("SIGTERM");
  assert((await viewer.ended()).success);
  await assertNeeded(LIVE, audit, dir.path);
});
