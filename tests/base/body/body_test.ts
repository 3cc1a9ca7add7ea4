import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { Body } from "@degu/degu/base";
import { pieceLengths } from "@degu/testing/arbitraries.ts";
import { DIGITS, operations, withEachSource } from "@degu/testing/bodies.ts";
import {
  assertBodyError,
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import {
  collect,
  concat,
  cut,
  PieceSource,
  RecordingSink,
  StallingSource,
  streamOf,
  ZeroSource,
} from "@degu/testing/streams.ts";
import { fromLatin1, limits } from "@degu/testing/wire_grammar.ts";

/** The operations that take a body of ten bytes to its end. */
const finishers: Record<string, (body: Body) => Promise<unknown>> = {
  ...operations,
  "read(0)": async (body) => assertEquals(await body.read(0) && await body.read(10), DIGITS),
  "read(1)": async (body) => {
    for (let i = 0; i < 10; i++) assertEquals((await body.read(1)).length, 1);
  },
  "read(10)": (body) => body.read(10),
  "read(11)": (body) => body.read(11),
};

Deno.test("Body reports its length and that it is not chunked", () => {
  for (const length of [0, 1, limits.number]) {
    const body = new Body(new PieceSource([]), length);
    assertStrictEquals(body.contentLength, length);
    assertStrictEquals(body.chunked, false);
  }
});

Deno.test("Body refuses an invalid source or length", () => {
  const sources = [null, undefined, "abc", 5, {}, [], DIGITS, new Blob(["a"]), { read: 5 }, [
    DIGITS,
  ]];
  for (const source of sources) {
    assertTypeError(() => constructWith(Body, source, 5), Deno.inspect(source));
  }
  for (const length of [undefined, null, "5", 5n, [5], {}, new Number(5)]) {
    assertTypeError(() => constructWith(Body, new PieceSource([]), length), Deno.inspect(length));
  }
  for (const length of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
    assertRangeError(() => new Body(new PieceSource([]), length), `${length}`);
  }
});

Deno.test("Body.read without a size returns everything", async (t) => {
  await withEachSource(t, DIGITS, async (body) => assertEquals(await body.read(), DIGITS));
});

Deno.test("Body.read returns exactly the size, and less only at the end", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    const pieces: string[] = [];
    for (let i = 0; i < 3; i++) pieces.push(fromLatin1(await body.read(4)));
    assertEquals(pieces, ["1234", "5678", "90"]);
    assertEquals((await body.read(4)).length, 0);
    await assertBodyError(body.read(4), "after the empty read");
  });
});

Deno.test("Body.read returns exactly the size however the source splits its bytes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 60 }),
      pieceLengths,
      pieceLengths,
      async (bytes, cuts, sizes) => {
        for (
          const source of [streamOf(...cut(bytes, ...cuts)), new PieceSource(cut(bytes, ...cuts))]
        ) {
          const body = new Body(source, bytes.length);
          const pieces: Uint8Array[] = [];
          for (let left = bytes.length, i = 0; left > 0; i++) {
            const size = sizes[i % sizes.length] ?? 1;
            const piece = await body.read(size);
            assertEquals(piece.length, Math.min(size, left));
            left -= piece.length;
            pieces.push(piece);
          }
          assertEquals(concat(pieces), Uint8Array.from(bytes));
        }
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("Body.read returns the rest after a partial read", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    assertEquals(fromLatin1(await body.read(3)), "123");
    assertEquals(fromLatin1(await body.read()), "4567890");
  });
});

Deno.test("Body returns an empty array to the first read after its last byte, then rejects", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const read of ["read()", "read(0)", "read(1)", "bytes()"]) {
      await t.step(`${read} after ${finisher}`, async () => {
        const body = new Body(streamOf(...cut(DIGITS, 4)), 10);
        await finish(body);
        assertEquals(await operations[read]?.(body), new Uint8Array(0));
        for (const [operation, run] of Object.entries(operations)) {
          if (operation === "readable" && finisher === "readable") continue;
          await assertBodyError(run(body), `a later ${operation}`);
        }
      });
    }
  }
});

Deno.test("Body rejects every other operation after its last byte", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const operation of ["iteration", "writeTo()", "readable"]) {
      if (operation === finisher && operation === "readable") continue;
      await t.step(`${operation} after ${finisher}`, async () => {
        const body = new Body(new PieceSource([DIGITS]), 10);
        await finish(body);
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("Body starts iteration, readable and writeTo only if nothing has been read", async (t) => {
  for (const start of ["read(0)", "read(1)", "readable"] as const) {
    for (const operation of ["iteration", "writeTo()", "readable"]) {
      if (operation === start) continue;
      await t.step(`${operation} after ${start}`, async () => {
        const body = new Body(streamOf(...cut(DIGITS, 4)), 10);
        if (start === "readable") assert(body.readable instanceof ReadableStream);
        else await operations[start]?.(body);
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("Body.read(0) returns an empty array and consumes nothing", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    assertEquals(await body.read(0), new Uint8Array(0));
    assertEquals(await body.read(0), new Uint8Array(0));
    assertEquals(await body.read(), DIGITS);
  });
});

Deno.test("Body of length 0 is consumed from the start", async (t) => {
  const empties: Record<string, () => Body> = {
    "stream": () => new Body(streamOf(), 0),
    "byte source": () => new Body(new PieceSource([]), 0),
  };
  for (const [kind, make] of Object.entries(empties)) {
    for (const operation of ["read()", "read(0)", "read(1)", "bytes()"]) {
      await t.step(`${operation} of an empty ${kind}`, async () => {
        const body = make();
        assertEquals(await operations[operation]?.(body), new Uint8Array(0));
        for (const [later, run] of Object.entries(operations)) {
          await assertBodyError(run(body), `${later} after ${operation}`);
        }
      });
    }
    await t.step(`other operations of an empty ${kind}`, async () => {
      assertEquals(await make().text(), "");
      assertEquals(await collect(make()), []);
      assertEquals(await new Response(make().readable).bytes(), new Uint8Array(0));
      const sink = new RecordingSink();
      assertEquals(await make().writeTo(sink), 0);
      assertEquals(sink.bytes.length, 0);
    });
  }
});

Deno.test("Body.read refuses invalid sizes and consumes nothing", async () => {
  const body = new Body(new PieceSource([DIGITS]), 10);
  for (const size of [-1, 1.5, NaN, Infinity, limits.collected + 1, 2 ** 53]) {
    const error = await rejectionOf(body.read(size), `read(${size})`);
    assert(error instanceof RangeError, `read(${size}) rejected with ${error}`);
  }
  for (const size of ["1", null, 1n, [1], {}]) {
    const promise = callWith(body.read.bind(body), size);
    assert(promise instanceof Promise, "read throws instead of rejecting");
    const error = await rejectionOf(promise, `read(${Deno.inspect(size)})`);
    assert(error instanceof TypeError, `read(${Deno.inspect(size)}) rejected with ${error}`);
  }
  assertEquals(await body.read(limits.collected), DIGITS);
});

Deno.test("Body.read returns up to 16 MiB and refuses more without consuming anything", async () => {
  const source = new ZeroSource();
  const body = new Body(source, limits.collected + 1);
  for (
    const collectAll of [
      () => body.read(),
      () => body.bytes(),
      () => body.text(),
      () => body.json(),
    ]
  ) {
    const error = await rejectionOf(collectAll(), "16 MiB and a byte");
    assert(error instanceof RangeError, Deno.inspect(error));
  }
  assertEquals(source.taken, 0);
  assertEquals((await body.read(1)).length, 1);
  assertEquals((await body.read()).length, limits.collected);
  assertEquals(source.taken, limits.collected + 1);
});

Deno.test("Body allocates little for a length that is only announced", async () => {
  const before = Deno.memoryUsage().external;
  const sources = Array.from({ length: 40 }, () => new StallingSource(DIGITS));
  const reads = sources.map((source) => new Body(source, limits.collected).read());
  await Promise.all(sources.map((source) => source.stalled));
  const grown = Deno.memoryUsage().external - before;
  for (const source of sources) source.release();
  const results = await Promise.allSettled(reads);
  assert(results.every(({ status }) => status === "rejected"));
  assert(grown < 40 * 512 * 1024, `${grown} bytes for 40 stalled bodies`);
});

Deno.test("Body.writeTo enlarges its reads only if the source fills them", async () => {
  const sink = { pieceBytes: 2 ** 21, write: () => Promise.resolve() };
  const fast = new PieceSource([new Uint8Array(2 ** 21)]);
  await new Body(fast, 2 ** 21).writeTo(sink);
  assertEquals(fast.offered.slice(0, 4), [2 ** 16, 2 ** 18, 2 ** 19, 2 ** 19]);
  const slow = new PieceSource(cut(new Uint8Array(2 ** 21), 2 ** 15));
  await new Body(slow, 2 ** 21).writeTo(sink);
  assertEquals(Math.max(...slow.offered), 2 ** 16);
});
