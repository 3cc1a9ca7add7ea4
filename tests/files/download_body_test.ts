/** Writing received bytes to a file. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { Body } from "@degu/degu/base";
import { receiveBody } from "@degu/internal/files/download.ts";
import { bodyOf } from "@degu/testing/bodies.ts";
import { pattern } from "@degu/testing/served_directory.ts";

/** Keeps what is written, each write after a turn of the event loop. */
function collect() {
  const written: number[] = [];
  let counted = 0;
  let isWriting = false;
  return {
    written,
    counted: () => counted,
    receiver: {
      hash: createHash("sha256"),
      async write(bytes: Uint8Array) {
        assert(!isWriting, "two writes at a time");
        isWriting = true;
        await new Promise((resolve) => setTimeout(resolve));
        for (const byte of bytes) written.push(byte);
        isWriting = false;
      },
      written: (count: number) => void (counted += count),
    },
  };
}

Deno.test("a body is written and hashed unchanged, however it is split", async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 300_000 }), { maxLength: 4 });
  const property = fc.asyncProperty(lengths, fc.nat(100), async (lengths, more) => {
    const content = pattern(lengths.reduce((sum, length) => sum + length, more));
    const { written, counted, receiver } = collect();
    await receiveBody(bodyOf(content, lengths), receiver);
    assertEquals([written.length, counted()], [content.length, content.length]);
    assert(written.every((byte, i) => byte === content[i]));
    const digest = createHash("sha256").update(content).digest("hex");
    assertEquals(receiver.hash.digest("hex"), digest);
  });
  await fc.assert(property, { numRuns: 20, examples: [[[], 0], [[65536], 0], [[524288], 1]] });
});

Deno.test("what arrived before a body failed is written", async () => {
  const { written, counted, receiver } = collect();
  const failure = new Error("cut");
  const body = bodyOf(pattern(1_000_000), [300_000, 400_000], failure);
  assertEquals(await assertRejects(() => receiveBody(body, receiver), Error), failure);
  assertEquals([written.length, counted()], [700_000, 700_000]);
});

Deno.test("a failed write ends the body", async () => {
  const failure = new Error("full");
  const { receiver } = collect();
  const write = () => Promise.reject(failure);
  const small = new Body(new Blob([pattern(100)]).stream(), 100);
  assertEquals(await receiveBody(small, { ...receiver, write }).catch((e) => e), failure);
  let cancelled: unknown = null;
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(65536)),
    cancel: (reason) => void (cancelled = reason),
  });
  const large = new Body(stream, 10_000_000);
  assertEquals(await receiveBody(large, { ...receiver, write }).catch((e) => e), failure);
  assertEquals(cancelled, failure);
});
