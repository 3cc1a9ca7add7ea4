/** Collector: bytes in order, in memory that grows with them. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Collector } from "@degu/internal/base/body/readers.ts";
import { concat } from "@degu/testing/streams.ts";

const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 });

Deno.test("Collector returns what was appended, in order", () => {
  fc.assert(
    fc.property(pieces, fc.nat(200), fc.integer({ min: 1, max: 50 }), (list, more, first) => {
      const whole = concat(list);
      const collector = new Collector(whole.length + more, first, 2);
      let length = 0;
      for (const piece of list) {
        collector.append(piece);
        length += piece.length;
        assertEquals([collector.length, collector.missing], [length, whole.length + more - length]);
      }
      assertEquals(collector.collected(), whole);
    }),
  );
});

Deno.test("Collector accepts bytes that are written into its free space", () => {
  const collector = new Collector(10, 4, 2);
  const rooms: number[] = [];
  for (let i = 0; collector.missing > 0; i++) {
    const room = collector.room();
    rooms.push(room.length);
    room[0] = i;
    collector.add(1);
  }
  assertEquals(rooms, [4, 3, 2, 1, 4, 3, 2, 1, 2, 1]);
  assertEquals([...collector.collected()], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

Deno.test("Collector allocates in proportion to what has arrived, and never more than announced", () => {
  const sizes = (collector: Collector, most: number) => {
    const seen = new Set<number>();
    while (collector.missing > 0) {
      const room = collector.room();
      seen.add(room.buffer.byteLength);
      collector.add(room.length);
    }
    assert([...seen].every((size) => size <= most));
    return [...seen];
  };
  assertEquals(sizes(new Collector(10), 10), [10]);
  assertEquals(sizes(new Collector(16777216), 16777216), [65536, 524288, 4194304, 16777216]);
  assertEquals(sizes(Collector.upTo(20_000), 20_000), [4096, 8192, 16384, 20_000]);
});

Deno.test("Collector returns an array that has its own buffer", () => {
  const full = new Collector(3);
  full.append(new Uint8Array([1, 2, 3]));
  assertEquals(full.collected().buffer.byteLength, 3);
  const part = new Collector(100);
  part.append(new Uint8Array([1, 2, 3]));
  assertEquals(part.collected().buffer.byteLength, 3);
  assertEquals(new Collector(0).collected(), new Uint8Array(0));
});
