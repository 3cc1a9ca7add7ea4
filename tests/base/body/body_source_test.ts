import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { Body } from "@degu/degu/base";
import { assertBodyError, assertCutShort, rejectionOf } from "@degu/testing/expectations.ts";
import {
  collect,
  concat,
  cut,
  PieceSource,
  RecordingSink,
  StallingSource,
  streamOf,
  TrackedStream,
  withFile,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";
import { turnOfEventLoop } from "@degu/testing/raw_peer.ts";

const DIGITS = latin1("1234567890");

/** The operations that take everything, each with the bytes that it got. */
const takers: Record<string, (body: Body) => Promise<Uint8Array>> = {
  "read()": (body) => body.read(),
  "iteration": async (body) => concat(await collect(body)),
  "writeTo()": async (body) => {
    const sink = new RecordingSink();
    await body.writeTo(sink);
    return sink.bytes;
  },
  "readable": (body) => new Response(body.readable).bytes(),
};

/** Asserts that a body which has failed stays unusable. */
async function assertDead(body: Body) {
  await assertBodyError(body.read(), "read() of a body with an error");
  await assertBodyError(body.read(1), "read(1) of a body with an error");
  await assertBodyError(collect(body), "iterating a body with an error");
  await assertBodyError(body.writeTo(new RecordingSink()), "sending a body with an error");
}

Deno.test("Body reads exactly its length from a byte source and leaves the rest", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      for (const length of [0, 1, 5, 9, 10]) {
        if (length === 0 && taker === "read()") continue;
        const source = new PieceSource(cut(DIGITS, 3));
        const taken = await take(new Body(source, length));
        assertEquals(fromLatin1(taken), fromLatin1(DIGITS).slice(0, length));
        assertEquals(source.taken, length);
      }
    });
  }
});

Deno.test("Body reads a slice of a file from its seek position and leaves the file open", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      await withFile(DIGITS, async (file) => {
        await file.seek(2, Deno.SeekMode.Start);
        assertEquals(fromLatin1(await take(new Body(file, 3))), "345");
        assertEquals(await file.seek(0, Deno.SeekMode.Current), 5);
        assertEquals(fromLatin1(await take(new Body(file, 4))), "6789");
        assertEquals(await file.seek(0, Deno.SeekMode.Current), 9);
        assertEquals((await file.stat()).size, 10);
      });
    });
  }
});

Deno.test("Body reads no more from a file than was asked for in total", async () => {
  await withFile(DIGITS, async (file) => {
    const body = new Body(file, 6);
    assertEquals(fromLatin1(await body.read(2)), "12");
    assert(await file.seek(0, Deno.SeekMode.Current) <= 6);
    assertEquals(fromLatin1(await body.read(2)), "34");
    assertEquals(fromLatin1(await body.read()), "56");
    assertEquals(await file.seek(0, Deno.SeekMode.Current), 6);
  });
});

Deno.test("Body rejects if its source ends too early", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(`${taker} of a stream`, async () => {
      for (const pieces of [[], [DIGITS.slice(0, 9)], cut(DIGITS.slice(0, 9), 1)]) {
        const body = new Body(streamOf(...pieces), 10);
        await assertCutShort(take(body), `${pieces.length} pieces`);
        await assertDead(body);
      }
    });
    await t.step(`${taker} of a byte source`, async () => {
      const body = new Body(new PieceSource([DIGITS]), 11);
      await assertCutShort(take(body), "a byte too few");
      await assertDead(body);
    });
    await t.step(`${taker} of a file, which stays open`, async () => {
      await withFile(DIGITS, async (file) => {
        const body = new Body(file, 11);
        await assertCutShort(take(body), "a byte too few");
        await assertDead(body);
        assertEquals((await file.stat()).size, 10);
      });
    });
  }
});

Deno.test("Body rejects if its stream is longer than announced, and cancels it", async (t) => {
  const rows: Record<string, Uint8Array[]> = {
    "one item that goes beyond": [latin1("123456")],
    "a last item that goes beyond": [latin1("123"), latin1("456")],
    "an item after the last byte": [latin1("12345"), latin1("6")],
    "an item after small ones": [...cut(latin1("12345"), 1), latin1("6")],
  };
  for (const [taker, take] of Object.entries(takers)) {
    for (const [what, items] of Object.entries(rows)) {
      await t.step(`${taker} of ${what}`, async () => {
        const source = new TrackedStream(items);
        const body = new Body(source.stream, 5);
        await assertBodyError(take(body), what);
        assert(source.settled, "the stream was neither read to its end nor canceled");
        await assertDead(body);
      });
    }
  }
});

Deno.test("Body of length 0 is not sent from a stream that has a byte", async () => {
  const source = new TrackedStream([latin1("1")]);
  await assertBodyError(new Body(source.stream, 0).writeTo(new RecordingSink()), "a byte of none");
  assert(source.settled);
});

Deno.test("Body rejects if its stream yields a value that is not bytes, and cancels it", async (t) => {
  for (const item of ["12345", 5, [1, 2], null, new ArrayBuffer(5), new Uint16Array(5), {}]) {
    await t.step(Deno.inspect(item), async () => {
      for (const take of Object.values(takers)) {
        const source = new TrackedStream<unknown>([item]);
        const body: Body = Reflect.construct(Body, [source.stream, 5]);
        const error = await rejectionOf(take(body), "no bytes");
        assert(error instanceof TypeError || error instanceof Error && error.name === "BodyError");
        assert(source.settled);
      }
    });
  }
});

Deno.test("Body rejects if its source fails", async (t) => {
  const failure = new Error("the disk is gone");
  /** The error itself, or one of ours that names it as its cause. */
  const assertFailure = (error: unknown) =>
    assertStrictEquals(error instanceof Error ? error.cause ?? error : error, failure);
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(`${taker} of a stream`, async () => {
      const body = new Body(new TrackedStream([latin1("12")], { failure }).stream, 5);
      assertFailure(await rejectionOf(take(body), "a failing stream"));
      await assertDead(body);
    });
    await t.step(`${taker} of a byte source`, async () => {
      const body = new Body({ read: () => Promise.reject(failure) }, 5);
      assertFailure(await rejectionOf(take(body), "a failing source"));
      await assertDead(body);
    });
  }
});

Deno.test("Body does not trust the count of a byte source", async (t) => {
  for (const count of [-1, 1.5, NaN, Infinity, 1e9, "1", undefined, {}]) {
    await t.step(Deno.inspect(count), async () => {
      const source = { read: () => Promise.resolve(count) };
      const body: Body = Reflect.construct(Body, [source, 5]);
      assert(await rejectionOf(body.read(), "a wrong count") instanceof Error);
      await assertDead(body);
    });
  }
});

Deno.test("Body reads its stream to the end", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      const source = new TrackedStream(cut(DIGITS, 4));
      assertEquals(await take(new Body(source.stream, 10)), DIGITS);
      assert(source.settled);
      assertEquals(source.cancelled.length, 0);
    });
  }
});

Deno.test("Body ignores empty items of its stream", async (t) => {
  const empty = new Uint8Array(0);
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      const items = [empty, latin1("12"), empty, empty, latin1("345")];
      assertEquals(fromLatin1(await take(new Body(streamOf(...items), 5))), "12345");
    });
  }
});

Deno.test("Body cancels its stream if an iteration is abandoned", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const body = new Body(source.stream, 10);
  for await (const piece of body) {
    assertEquals(fromLatin1(piece), "12");
    break;
  }
  assertEquals(source.cancelled.length, 1);
  await assertDead(body);
});

Deno.test("Body cancels its stream if the loop over it throws", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const failure = new Error("no more, please");
  const loop = async () => {
    for await (const _ of new Body(source.stream, 10)) throw failure;
  };
  assertStrictEquals(await rejectionOf(loop(), "the loop"), failure);
  assertEquals(source.cancelled.length, 1);
});

Deno.test("Body leaves the rest of a byte source unread if an iteration is abandoned", async () => {
  const source = new PieceSource(cut(DIGITS, 2));
  const body = new Body(source, 8);
  for await (const _ of body) break;
  assert(source.taken <= 8);
  await assertDead(body);
});

Deno.test("Body cancels its stream if its readable is canceled", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const body = new Body(source.stream, 10);
  await body.readable.cancel(new Error("enough"));
  assertEquals(source.cancelled.length, 1);
  await assertDead(body);
});

Deno.test("Body refuses a locked stream", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const reader = source.stream.getReader();
  const use = async () => await new Body(source.stream, 10).read();
  assert(await rejectionOf(use(), "a locked stream") instanceof Error);
  assertEquals(fromLatin1((await reader.read()).value ?? new Uint8Array(0)), "12");
  await reader.cancel();
});

Deno.test("Body does not read from a byte source after its last byte", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      const source = new StallingSource(DIGITS);
      assertEquals(await take(new Body(source, 10)), DIGITS);
    });
  }
});

Deno.test("Body passes on what has arrived without waiting for the rest", async (t) => {
  await t.step("read(5)", async () => {
    const body = new Body(new StallingSource(DIGITS), 20);
    assertEquals(fromLatin1(await body.read(5)), "12345");
    assertEquals(fromLatin1(await body.read(5)), "67890");
  });
  await t.step("iteration", async () => {
    const source = new StallingSource(DIGITS);
    const iterator = new Body(source, 20)[Symbol.asyncIterator]();
    const { value } = await iterator.next();
    assertEquals(value, DIGITS);
    source.release();
    await assertCutShort(iterator.next(), "the rest");
  });
  await t.step("readable", async () => {
    const source = new StallingSource(DIGITS);
    const reader = new Body(source, 20).readable.getReader();
    assertEquals((await reader.read()).value, DIGITS);
    source.release();
    await assertCutShort(reader.read(), "the rest");
  });
  await t.step("writeTo()", async () => {
    const written = Promise.withResolvers<Uint8Array>();
    const sink = {
      write: (bytes: Uint8Array) => {
        written.resolve(bytes.slice());
        return Promise.resolve();
      },
    };
    const source = new StallingSource(DIGITS);
    const sent = new Body(source, 20).writeTo(sink);
    assertEquals(await written.promise, DIGITS);
    source.release();
    await assertCutShort(sent, "the rest");
  });
});

Deno.test("Body can't be iterated twice", async () => {
  const body = new Body(streamOf(...cut(DIGITS, 2)), 10);
  const first = body[Symbol.asyncIterator]();
  const second = async () => await body[Symbol.asyncIterator]().next();
  assertEquals(fromLatin1((await first.next()).value ?? DIGITS), "12");
  await assertBodyError(second(), "the second iteration");
  assertEquals(fromLatin1((await first.next()).value ?? DIGITS), "34");
});

Deno.test("a stream is unlocked after a partially read body was canceled", async () => {
  const stream = streamOf(DIGITS, DIGITS);
  const body = new Body(stream, 20);
  await body.read(3);
  await body.cancel();
  await turnOfEventLoop();
  assertEquals(stream.locked, false);
});
