/** The live pictures of the examples, with fast, slow and disconnected viewers. */
import { Client, Server, type Session } from "@degu/degu";
import { assertNeeded, startExample } from "@degu/testing/examples.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { makeLiveApp, Pictures, watch } from "@degu/internal/examples/live.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

const LIVE = "examples/live.ts";
/** More bytes than the buffers of a connection hold. */
const PICTURE_BYTES = 16_777_216;
const PICTURES = 5;

/** Makes a picture from a number; pictures with other numbers differ. */
function picture(number: number): Uint8Array {
  const data = new Uint8Array(PICTURE_BYTES);
  new DataView(data.buffer).setUint32(0, number);
  return data;
}

const numberOf = (data: Uint8Array) => new DataView(data.buffer, data.byteOffset).getUint32(0);

/** Pictures whose requests a test can wait for. */
class Watched extends Pictures {
  pictureRequested = Promise.withResolvers<void>();

  override next(viewer: Session): Promise<Uint8Array | null> {
    const nextPicture = super.next(viewer);
    this.pictureRequested.resolve();
    return nextPicture;
  }
}

Deno.test("a viewer that pauses misses pictures, gets the newest one next, and doesn't delay other viewers", async () => {
  const pictures = new Watched();
  const options = { timeout: null };
  await using server = await Server.start(["127.0.0.1", 0], makeLiveApp(pictures), options);
  const client = new Client(server.address, options);
  pictures.set(picture(1));
  using slow = await client.connect();
  const first = await slow.get("/");

  const leaving = new AbortController();
  const seenNumbers: number[] = [];
  await watch(client, (data) => {
    seenNumbers.push(numberOf(data));
    if (seenNumbers.length === PICTURES) leaving.abort();
    else pictures.set(picture(seenNumbers.length + 1));
  }, leaving.signal);
  assertEquals(seenNumbers, Array.from({ length: PICTURES }, (_, i) => i + 1));

  assertEquals(numberOf(await first.bytes()), 1);
  assertEquals(numberOf(await (await slow.get("/")).bytes()), PICTURES);
  pictures.pictureRequested = Promise.withResolvers();
  const nextResponse = slow.get("/");
  await pictures.pictureRequested.promise;
  pictures.set(picture(PICTURES + 1));
  const number = numberOf(await (await nextResponse).bytes());
  assertEquals(number, PICTURES + 1, "no picture comes twice");
});

Deno.test("a viewer reconnects after the camera was offline, and both end on SIGTERM", async () => {
  await using dir = await createTempDir();
  const [port, audit] = [`${await findUnusedPort()}`, `${dir.path}/audit`];
  const camera = () => startExample(LIVE, { args: ["serve", port], audit });
  await using first = await camera();
  await first.waitForStdout(/^The pictures are at .*\n/m);
  await using viewer = await startExample(LIVE, { args: ["watch", port] });
  await viewer.waitForStdout(/^\d{4}-.*Z\n\d{4}-.*Z\n/m);
  first.kill();
  await first.child.status;
  const killed = Date.now();
  await viewer.waitForStderr(/next run in 1 s\n/);
  await using second = await camera();
  while (Date.parse(await viewer.waitForStdout(/^\d{4}-.*Z$/m)) < killed);

  const response = await new Client(["127.0.0.1", Number(port)]).request("GET", "/");
  assertEquals(response.headers["content-type"], "text/plain");
  assertMatch(await response.text(), /^\d{4}-.*Z\n$/, "one picture");
  second.child.kill("SIGTERM");
  assert((await second.waitForEnd()).success);
  viewer.child.kill("SIGTERM");
  assert((await viewer.waitForEnd()).success);
  await assertNeeded(LIVE, audit, dir.path);
});
