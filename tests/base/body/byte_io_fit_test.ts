/** How large the buffer of a ByteReader is: it grows with what arrives, and fits what a message needs. */
import { assertEquals, assertStrictEquals } from "@std/assert";
import { ByteReader } from "@degu/internal/base/body/byte_io.ts";

/** A reader of messages, and the sizes of its buffer. */
class Messages {
  /** Bytes that the source has and gives as far as there is room. */
  #left = 0;
  readonly reader: ByteReader = new ByteReader({
    read: (into) => {
      const count = Math.min(this.#left, into.length);
      this.#left -= count;
      return Promise.resolve(count);
    },
  });

  /** Receives a message of so many bytes as a whole. */
  async receive(size: number): Promise<number> {
    this.reader.fit();
    this.#left = size;
    while (this.#left > 0) await this.reader.fill();
    const { length } = this.reader.bytes;
    assertEquals(this.reader.buffered, size);
    this.reader.start = this.reader.end;
    return length;
  }
}

Deno.test("a ByteReader has no buffer before its first use, and then a small one", async () => {
  const messages = new Messages();
  assertEquals(messages.reader.bytes.length, 0);
  assertEquals(await messages.receive(100), 2048);
});

Deno.test("a ByteReader grows fourfold when it is filled, up to its capacity", async () => {
  assertEquals(await new Messages().receive(2047), 2048);
  assertEquals(await new Messages().receive(2049), 8192);
  assertEquals(await new Messages().receive(8193), 32768);
  assertEquals(await new Messages().receive(32769), 65536);
  assertEquals(await new Messages().receive(65536), 65536);
});

Deno.test("a ByteReader adapts to the last message: it grows if that filled it, and otherwise shrinks by a step", async () => {
  const messages = new Messages();
  const sizes: number[] = [];
  for (const size of [2048, 10, 10, 65536, 16385, 16384, 4097, 4096, 10, 1]) {
    sizes.push(await messages.receive(size));
  }
  assertEquals(sizes, [2048, 8192, 2048, 65536, 65536, 65536, 16384, 16384, 4096, 2048]);
});

Deno.test("a ByteReader that gets the same messages repeatedly keeps its buffer", async () => {
  const messages = new Messages();
  for (const size of [10_000, 10_000]) await messages.receive(size);
  const { bytes } = messages.reader;
  for (let count = 0; count < 5; count++) await messages.receive(10_000);
  assertStrictEquals(messages.reader.bytes, bytes);
});

Deno.test("a ByteReader is small again after a body for which it has grown", async () => {
  const messages = new Messages();
  await messages.receive(65536);
  messages.reader.grow(2 ** 20);
  messages.reader.shrink();
  assertEquals(messages.reader.bytes.length, 2048);
  assertEquals(await messages.receive(10), 2048);
});
