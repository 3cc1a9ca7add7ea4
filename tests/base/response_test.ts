/** The methods of a response. */
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  Response,
} from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { catchRejection } from "@degu/testing/expectations.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";

const respond = (body: BodyOut) => new Response(200, "OK", {}, body);

/** Bodies of each kind with the data "[12]". */
const bodies: Record<string, () => BodyOut> = {
  string: () => "[12]",
  Uint8Array: () => encodeLatin1("[12]"),
  Body: () => new Body(streamOf(encodeLatin1("[1"), encodeLatin1("2]")), 4),
  BodyIter: () => new BodyIter([encodeLatin1("[1"), encodeLatin1("2]")], 4),
  ChunkedBody: () => new ChunkedBody(streamOf(encodeLatin1("2;a=b\r\n[1\r\n2\r\n2]\r\n0\r\n\r\n"))),
  ChunkedBodyIter: () =>
    new ChunkedBodyIter([[null, encodeLatin1("[1")], [["a", "b"], encodeLatin1("2]")], [
      null,
      encodeLatin1(""),
    ]]),
};

Deno.test("ok is true for 200 to 299", () => {
  for (const [status, ok] of [[199, false], [200, true], [299, true], [300, false], [404, false]]) {
    assertEquals(new Response(status as number, "xx", {}, null).ok, ok);
  }
});

Deno.test("bytes, text and json read the data of every kind of body", async (t) => {
  await testEachRow(t, Object.entries(bodies), async (_name, make) => {
    assertEquals(await respond(make()).bytes(), encodeLatin1("[12]"));
    assertEquals(await respond(make()).text(), "[12]");
    assertEquals(await respond(make()).json(), [12]);
  });
});

Deno.test("a body that is null is empty, and no JSON", async () => {
  assertEquals(await respond(null).bytes(), encodeLatin1(""));
  assertEquals(await respond(null).text(), "");
  for (const body of [null, "", encodeLatin1("")]) {
    assertInstanceOf(await catchRejection(respond(body).json(), "no JSON"), SyntaxError);
  }
});

Deno.test("discard reads up to 64 KiB and cancels more, and never rejects", async () => {
  const rows: [bytes: number, chunked: boolean, isCanceled: boolean][] = [
    [65536, false, false],
    [65537, false, true],
    [65520, true, false],
    [65537, true, true],
  ];
  for (const [bytes, chunked, isCanceled] of rows) {
    const data = new Uint8Array(bytes);
    const coding = [encodeLatin1(`${bytes.toString(16)}\r\n`), data, encodeLatin1("\r\n0\r\n\r\n")];
    const source = new TrackedStream(chunked ? coding : [data]);
    const body = chunked ? new ChunkedBody(source.stream) : new Body(source.stream, bytes);
    await respond(body).discard();
    assertEquals(source.isCanceled, isCanceled, `${bytes} ${chunked}`);
    assert(source.isSettled);
  }
  const failingStream = new TrackedStream<Uint8Array>([], { failure: new Error("unplugged") });
  await respond(new Body(failingStream.stream, 5)).discard();
  const usedBody = new Body(streamOf(encodeLatin1("a")), 1);
  await usedBody.read();
  await respond(usedBody).discard();
  for (const make of Object.values(bodies)) await respond(make()).discard();
  await respond(null).discard();
});

Deno.test("discard cancels after a second, even if more bytes arrive", async () => {
  for (const announced of [60000, 65536]) {
    let canceled = false;
    const dripping = new ReadableStream({
      async pull(controller) {
        if (announced === 60000) await new Promise((resolve) => setTimeout(resolve));
        else await new Promise(() => {});
        if (!canceled) controller.enqueue(encodeLatin1("x"));
      },
      cancel: () => void (canceled = true),
    });
    await withTimeout(respond(new Body(dripping, announced)).discard(), "the end of discard()");
    assert(canceled);
  }
});

Deno.test("discard works after a part was read, counts the remaining bytes, and keeps the connection", async (t) => {
  const rows: [string, () => BodyOut, (body: never) => Promise<unknown>, kept: boolean][] = [
    ["70,000 bytes", () => new Uint8Array(70_000), (body: Body) => body.read(5000), true],
    ["70,000 bytes, 1 read", () => new Uint8Array(70_000), (body: Body) => body.read(1), false],
    ["5 bytes", () => "hello", (body: Body) => body.read(4), true],
    ["5 bytes, all read", () => "hello", (body: Body) => body.read(5), true],
    [
      "chunks",
      () => new ChunkedBodyIter([[null, new Uint8Array(9)], [null, new Uint8Array(0)]]),
      (body: ChunkedBody) => body.readChunk(),
      true,
    ],
  ];
  await testEachRow(t, rows, async (_label, make, read, isKept) => {
    await using serving = serve(() => [200, "OK", {}, make()]);
    using conn = await serving.makeClient().connect();
    const response = await conn.get("/");
    await read(response.body as never);
    await response.discard();
    assertEquals(conn.closed, !isKept);
    if (isKept) await (await conn.get("/")).discard();
  });
});

Deno.test("discard also counts the chunk headers", async () => {
  const chunk = encodeLatin1(`1;key=${"v".repeat(4000)}\r\nx\r\n`);
  let received = 0;
  const endless = new ReadableStream({
    pull(controller) {
      received += chunk.length;
      controller.enqueue(chunk.slice());
    },
  });
  await withTimeout(respond(new ChunkedBody(endless)).discard(), "the end of discard()");
  assert(received < 150_000, `${received}`);
});

Deno.test("disposing of a response discards its body, and the connection continues", async () => {
  const app: AppFunction = ({ path }) => [
    200,
    "OK",
    {},
    path[0] === "large" ? new Uint8Array(100_000) : path[0] === "none" ? null : "small",
  ];
  await using server = serve(app);
  using connection = await new Client(server.server.address).connect();
  for (const uri of ["/small", "/none", "/small"]) {
    await using response = await connection.get(uri);
    assertEquals(response.status, 200);
  }
  assertEquals(await (await connection.get("/small")).text(), "small");
  {
    await using _response = await connection.get("/large");
  }
  assertEquals(connection.closed, true);
});
