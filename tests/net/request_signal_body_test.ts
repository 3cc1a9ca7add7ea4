/** A request that is aborted while the body of its response is read. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { bodies, type Body, type ChunkedBody } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { assertReason, half, never, reason, reasons, withAbort } from "@degu/testing/aborts.ts";

const halfChunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

/** What can be done with the body of a response: all of it has to fail with the reason. */
const reads: Readonly<Record<string, (body: Body | ChunkedBody) => Promise<unknown>>> = {
  read: (body) => body.read(),
  text: (body) => body.text(),
  json: (body) => body.json(),
  writeTo: (body) => body.writeTo({ write: () => Promise.resolve() }),
  "writeTo a sink that is blocked": (body) => body.writeTo({ write: never }),
  "writeTo a stream that is blocked": (body) => body.writeTo(new WritableStream({ write: never })),
  readable: async (body) => {
    const reader = body.readable.getReader();
    try {
      while (!(await reader.read()).done);
    } finally {
      reader.releaseLock();
    }
  },
  iterating: async (body) => {
    for await (const _ of body);
  },
  readChunk: async (body) => {
    if (!body.chunked) return await body.read();
    for (;;) await body.readChunk();
  },
};

class OtherBody {
  readonly chunked = false as const;
  readonly contentLength: number;
  constructor(readonly source: { read(into: Uint8Array): Promise<number | null> }, length: number) {
    this.contentLength = length;
  }
  async read(): Promise<unknown> {
    for (;;) await this.source.read(new Uint8Array(100));
  }
}

for (const [kind, answer] of Object.entries({ "known length": half, "chunked": halfChunked })) {
  for (const [name, read] of Object.entries(reads)) {
    Deno.test(`${kind}, ${name}: pending and later reads of the body reject with the reason`, async () => {
      for (const expected of reasons) {
        for (const early of [true, false]) {
          using connected = await connect();
          const { conn, peer } = connected;
          const aborter = new AbortController();
          const { body } = await connected.answer(answer, { signal: aborter.signal });
          assert(body !== null);
          const reading = early ? assertReason(read(body), expected, name) : null;
          // The body has taken what is there, and waits.
          if (early) await new Promise((resolve) => setTimeout(resolve));
          aborter.abort(expected);
          assert(conn.closed);
          await reading;
          await assertReason(read(body), expected, `${name}, later`);
          await assertReason(body.read(), expected, "read, again");
          await assertReason(body.read(1 as never), expected, "read a byte, again");
          await peer.readToEnd();
        }
      }
    });
  }
}

Deno.test("a foreign body rejects with the reason, too", async () => {
  const others = { ...bodies, Body: OtherBody as never };
  using connected = await connect({ bodies: others });
  const aborter = new AbortController();
  const { body } = await connected.answer(half, { signal: aborter.signal });
  const reading = assertReason(body!.read(), reason);
  aborter.abort(reason);
  await reading;
  await assertReason(body!.read(), reason, "later");
});

Deno.test("an abort while the last byte is passed on takes effect, and one after it does not", async () => {
  const whole = `${half}world`;
  {
    using connected = await connect();
    const aborter = new AbortController();
    const { body } = await connected.answer(whole, { signal: aborter.signal });
    const sink = {
      write: () => {
        aborter.abort(reason);
        return Promise.resolve();
      },
    };
    await assertReason(body!.writeTo(sink), reason);
    assert(connected.conn.closed);
  }
  {
    using connected = await connect();
    const aborter = new AbortController();
    const { body } = await connected.answer(whole, { signal: aborter.signal });
    const reading = body!.text();
    // All of it was there: the last byte is taken.
    aborter.abort(reason);
    assertEquals(await reading, "helloworld");
    assertEquals(connected.conn.closed, false);
  }
});

Deno.test("an abort in the same turn as the last byte yields the whole body, or the reason", async () => {
  let aborted = 0;
  for (let turns = 0; turns < 12; turns++) {
    using connected = await connect();
    const { conn, peer } = connected;
    const aborter = new AbortController();
    const { body } = await connected.answer(half, { signal: aborter.signal });
    const reading = body!.text().catch((error) => error);
    const sending = peer.send("world");
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setTimeout(resolve));
    aborter.abort(reason);
    await sending.catch(() => {});
    const result = await within(reading, "reading ends");
    if (conn.closed) aborted++;
    assertStrictEquals(result, conn.closed ? reason : "helloworld");
  }
  assert(aborted > 0);
});

Deno.test("the first of two signals to be aborted counts", async (t) => {
  for (const first of ["client's", "request's"]) {
    for (const phase of ["waiting", "reading"]) {
      await t.step(`${first}, ${phase}`, async () => {
        const client = new AbortController();
        const request = new AbortController();
        using connected = await connect({ signal: client.signal });
        const { conn, peer } = connected;
        const responding = conn.get("/", {}, { signal: request.signal });
        responding.catch(() => {});
        await peer.readPreamble();
        if (phase === "reading") await peer.send(half);
        const failing = phase === "reading" ? (await responding).body!.text() : responding;
        const rejecting = assertReason(failing, reason);
        const [now, later] = first === "client's" ? [client, request] : [request, client];
        now.abort(reason);
        later.abort(new Error("too late"));
        await rejecting;
        assert(conn.closed);
      });
    }
  }
  await t.step("one and the same", async () => {
    const { signal, abort } = withAbort();
    using connected = await connect({ signal });
    const rejecting = assertReason(connected.conn.get("/", {}, { signal }), reason);
    await connected.peer.readPreamble();
    abort(reason);
    await rejecting;
  });
});
