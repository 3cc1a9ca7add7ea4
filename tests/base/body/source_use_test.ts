/** SourceUse: a body and its source end, fail and are canceled together. */
import { assertEquals, assertInstanceOf, assertStrictEquals, assertThrows } from "@std/assert";
import { BodyError } from "@degu/degu/base";
import { BodySource, ByteReader } from "@degu/internal/base/body/byte_io.ts";
import { closeByteStream, SourceUse } from "@degu/internal/base/body/body_state.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

/** A source that records what it is told. */
class RecordingSource extends BodySource {
  readonly reader = new ByteReader(this);
  readonly exact = false;
  readonly isPrivate = true;
  readonly pieceBytes = 10;
  readonly mostBytes = 10;
  readonly told: [what: string, error?: unknown][] = [];

  read(): Promise<null> {
    return Promise.resolve(null);
  }

  override consumed(): void {
    this.told.push(["consumed"]);
  }

  override failed(error: unknown): void {
    this.told.push(["failed", error]);
  }

  override cancel(reason: unknown): Promise<void> {
    this.told.push(["cancelled", reason]);
    return Promise.resolve();
  }
}

function use(): { source: RecordingSource; use: SourceUse } {
  const source = new RecordingSource();
  return { source, use: new SourceUse(source) };
}

Deno.test("SourceUse tells the source once that the body is consumed", async () => {
  const { source, use: it } = use();
  it.beginRead();
  it.consume();
  await it.cancel("too late");
  it.endIteration();
  assertEquals([it.isConsumed, source.told], [true, [["consumed"]]]);
});

Deno.test("SourceUse does not report the end that a canceled body has reached", async () => {
  const { source, use: it } = use();
  const reason = new Error("enough");
  it.beginRead();
  await it.cancel(reason);
  assertThrows(() => it.consume(), Error, "enough");
  assertEquals([it.isConsumed, source.told], [false, [["cancelled", reason]]]);
});

Deno.test("SourceUse fails the body if its source fails, and the source if its body fails", async () => {
  const failure = new Error("the disk is gone");
  const { source, use: it } = use();
  it.beginRead();
  const waiting = it.fromSource(Promise.reject(failure));
  assertStrictEquals(await rejectionOf(waiting, "a failing source"), failure);
  assertEquals([it.isOver, source.told], [true, [["failed", failure]]]);
  const other = use();
  other.use.breakOff(failure);
  assertEquals([other.use.isOver, other.source.told], [true, [["failed", failure]]]);
  assertEquals(await use().use.fromSource(Promise.resolve(5)), 5);
});

Deno.test("SourceUse cancels a body if its iteration is abandoned", () => {
  const { source, use: it } = use();
  it.begin("iterate", true);
  it.endIteration();
  const [what, error] = source.told[0]!;
  assertEquals([what, source.told.length], ["cancelled", 1]);
  assertInstanceOf(error, BodyError);
  assertEquals(error.message, "the iteration was abandoned");
});

Deno.test("SourceUse has one stream, which starts the body and cancels it", async () => {
  const { source, use: it } = use();
  const stream = it.stream(4, () => Promise.resolve(0), () => true);
  assertEquals(it.used, true);
  assertStrictEquals(it.stream(4, () => Promise.resolve(0), () => true), stream);
  const reason = new Error("enough");
  await stream.cancel(reason);
  assertEquals(source.told, [["cancelled", reason]]);
  const begun = use().use;
  begun.beginRead();
  assertThrows(() => begun.stream(4, () => Promise.resolve(0), () => true), BodyError, "in use");
});

Deno.test("the stream of SourceUse reads pieces until the end, for both kinds of reader", async () => {
  for (const mode of [undefined, "byob"] as const) {
    const pieces = ["hello", ", ", "world"];
    const sizes: number[] = [];
    const stream = use().use.stream(8, (into) => {
      sizes.push(into.length);
      const piece = latin1(pieces.shift() ?? "");
      into.set(piece);
      return Promise.resolve(piece.length);
    }, () => pieces.length === 0);
    let text = "";
    if (mode === undefined) {
      for await (const piece of stream) text += fromLatin1(piece);
      assertEquals(sizes, [8, 8, 8]);
    } else {
      const reader = stream.getReader({ mode });
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(6));
        text += fromLatin1(value!);
        if (done) break;
      }
      assertEquals(sizes, [6, 6, 6]);
    }
    assertEquals(text, "hello, world");
  }
});

Deno.test("the stream of an empty body ends at once, for both kinds of reader", async () => {
  for (const mode of [undefined, "byob"] as const) {
    const rooms: number[] = [];
    const stream = use().use.stream(0, (into) => {
      rooms.push(into.length);
      return Promise.resolve(0);
    }, () => true);
    if (mode === undefined) assertEquals((await stream.getReader().read()).done, true);
    else assertEquals((await stream.getReader({ mode }).read(new Uint8Array(6))).done, true);
    assertEquals(rooms, [0]);
  }
});

Deno.test("the stream of an empty body errors if the source has another byte", async () => {
  const failure = new Error("more");
  const stream = use().use.stream(0, () => Promise.reject(failure), () => true);
  assertStrictEquals(await rejectionOf(stream.getReader().read(), "a byte too many"), failure);
});

Deno.test("closeByteStream returns a pending reader's buffer", async () => {
  const stream = new ReadableStream({
    type: "bytes",
    pull: (controller) => closeByteStream(controller),
  });
  const { done, value } = await stream.getReader({ mode: "byob" }).read(new Uint8Array(6));
  assertEquals([done, value!.length, value!.buffer.byteLength], [true, 0, 6]);
});

Deno.test("SourceUse accepts only what a body can be made from", () => {
  assertEquals(new SourceUse(streamOf()).used, false);
  for (const input of [null, {}, "text", 5]) {
    assertThrows(() => new SourceUse(input as never), TypeError, "source: must be");
  }
});
