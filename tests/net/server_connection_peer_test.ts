/** Peers that break off, flood or stall: other connections are not affected, and nothing is left behind. */
import { assert, assertEquals } from "@std/assert";
import { BodyIter } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { meet, serve, type Serving } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const CHUNKED = "transfer-encoding: chunked\r\n\r\n";
const get = "GET / HTTP/1.1\r\n\r\n";

const reader: App = async ({ body, uri }) => {
  const bytes = await body?.bytes();
  return [200, "OK", {}, uri === "/echo" && bytes !== undefined ? bytes : null];
};

/** Asserts that somebody else is served, now. */
async function assertServes(serving: Serving): Promise<void> {
  const asking = serving.makeClient().request("GET", "/");
  const { status, body } = await within(asking, "others are served");
  await body?.read();
  assertEquals(status, 200);
  assertEquals(serving.logger.at("error"), []);
}

Deno.test("a server survives a peer that resets at any byte of an exchange instead of reading", async () => {
  await using serving = serve(reader, { maxConnections: 3 });
  const request = "PUT /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
  const stream = request + request + get;
  for (let at = 0; at < stream.length; at++) {
    const peer = await RawPeer.connect(serving.address);
    await peer.send(stream.slice(0, at));
    // Closing with bytes unread, as soon as an answer has come, is a reset.
    if (at >= request.length) await peer.readExactly(1);
    peer.close();
  }
  await assertServes(serving);
});

Deno.test("a flood of pipelined requests is answered in order while it is read", async () => {
  let count = 0;
  await using serving = serve(() => [200, "OK", { number: `${count++}` }, null], {
    maxRequests: Infinity,
  });
  using peer = await RawPeer.connect(serving.address);
  const total = 4000;
  const sending = peer.send(get.repeat(total)).then(() => peer.closeWrite());
  const { received } = await peer.readToEnd();
  await sending;
  const numbers = [...received.matchAll(/number: (\d+)\r\n/g)].map(([, number]) => Number(number));
  assertEquals(numbers.length, total);
  assert(numbers.every((number, i) => number === i), "the answers are out of order");
  await assertServes(serving);
});

Deno.test("a flood of requests stops being read if its responses are not read", async () => {
  let calls = 0;
  await using serving = serve(() => {
    calls++;
    return [200, "OK", {}, new Uint8Array(100_000)];
  }, { maxRequests: Infinity });
  using peer = await RawPeer.connect(serving.address);
  const flood = peer.send(get.repeat(20_000)).catch(() => {});
  // It stops by itself once no buffer takes more: no call in a while.
  let before = -1;
  for (let i = 0; i < 200 && before !== calls; i++) {
    before = calls;
    for (let turn = 0; turn < 20; turn++) await turnOfEventLoop();
  }
  assert(calls < 1000, `${calls} answers were made for a peer that reads none`);
  await assertServes(serving);
  peer.close();
  await flood;
});

Deno.test("a peer that disappears while an app streams ends the stream, and releases the slot", async () => {
  let returned = 0;
  const gone = Promise.withResolvers<void>();
  async function* endless() {
    try {
      for (;;) {
        yield new Uint8Array(65536);
        await turnOfEventLoop();
      }
    } finally {
      if (++returned === 5) gone.resolve();
    }
  }
  await using serving = serve(({ uri }) => {
    if (uri === "/") return [200, "OK", {}, null];
    return [200, "OK", {}, new BodyIter(endless(), 2 ** 40)];
  }, { maxConnections: 1 });
  for (let i = 0; i < 5; i++) {
    const peer = await RawPeer.connect(serving.address);
    await peer.send("GET /stream HTTP/1.1\r\n\r\n");
    await peer.readExactly(200_000);
    peer.close();
  }
  await within(gone.promise, "every stream is given up");
  await assertServes(serving);
});

Deno.test("tiny chunks, endless extensions and huge chunk sizes cost their sender more than the server", async (t) => {
  const begin = `PUT / HTTP/1.1\r\n${CHUNKED}`;
  await t.step("tiny chunks are read", async () => {
    await using meeting = await meet(reader, `${begin}${"1\r\nx\r\n".repeat(10_000)}0\r\n\r\n`);
    assertEquals(await meeting.peer.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
  });
  await t.step("an endless extension is cut off", async () => {
    await using meeting = await meet(reader, `${begin}1;k=`);
    const most = 64 * 1048576;
    const taken = await meeting.peer.sendUntilRefused(latin1("v".repeat(65536)), most);
    assert(taken < most, "it was read on and on");
    await meeting.logger.waitFor("info");
    await assertServes(meeting.serving);
  });
});

Deno.test("what is announced and never sent costs no memory, and occupies only its slot", async () => {
  for (const framing of ["content-length: 16777216\r\n\r\nx", `${CHUNKED}1000000\r\nx`]) {
    await using serving = serve(reader);
    const before = Deno.memoryUsage().external;
    const peers = [];
    for (let i = 0; i < 20; i++) {
      const peer = await RawPeer.connect(serving.address);
      peers.push(peer);
      await peer.send(`PUT / HTTP/1.1\r\n${framing}`);
    }
    await assertServes(serving);
    assert(Deno.memoryUsage().external - before < 100 * 1048576);
    for (const peer of peers) peer.close();
  }
});
