/** Bytes, pauses, and maps that forget. */
import { decodeAscii, realLength, viewOf } from "@degu/internal/base/bytes.ts";
import { forgetOldest } from "@degu/internal/base/forget_oldest.ts";
import { pause } from "@degu/internal/base/pause.ts";
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";

// Byte arrays, which can change at any time.

/** An array of 8 bytes over a buffer that can be resized. */
function resizable(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 }));
  bytes.set([1, 2, 3, 4, 5, 6, 7, 8]);
  return bytes;
}

class Liar extends Uint8Array {
  override get length(): number {
    return 1000;
  }
  override subarray(): never {
    throw new Error("called");
  }
}

Deno.test("realLength returns the actual length, whatever a subclass reports", () => {
  assertEquals(realLength(new Uint8Array(3)), 3);
  assertEquals(realLength(new Uint8Array(10).subarray(2, 6)), 4);
  assertEquals(realLength(new Liar(3)), 3);
  const bytes = resizable();
  bytes.buffer.resize(16);
  assertEquals(realLength(bytes), 16);
  bytes.buffer.resize(2);
  assertEquals(realLength(bytes), 2);
  bytes.buffer.transfer();
  assertEquals(realLength(bytes), 0);
});

Deno.test("viewOf returns a plain view of the current bytes, which never grows", () => {
  const liar = viewOf(new Liar([1, 2, 3]));
  assertEquals(Object.getPrototypeOf(liar), Uint8Array.prototype);
  assertEquals([...liar], [1, 2, 3]);
  const bytes = resizable();
  const view = viewOf(bytes.subarray(2, 6));
  bytes[2] = 99;
  assertEquals([...view], [99, 4, 5, 6]);
  bytes.buffer.resize(16);
  assertEquals(view.length, 4);
  const whole = viewOf(bytes);
  bytes.buffer.resize(8);
  assertEquals([view.length, whole.length], [4, 0]);
});

Deno.test("decodeAscii maps each ASCII byte to its character, and all others to none of ASCII", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    const text = decodeAscii(bytes);
    const ascii = [...bytes].every((byte) => byte < 0x80);
    assertEquals(/^[\0-\x7f]*$/.test(text), ascii);
    if (ascii) assertEquals(text, String.fromCharCode(...bytes));
    // What is ASCII comes out in its order, so nothing of it can hide behind another byte.
    const kept = [...text].filter((character) => character < "\x80").join("");
    assertEquals(kept, String.fromCharCode(...bytes.filter((byte) => byte < 0x80)));
  }));
  assertEquals(decodeAscii(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "\ufeffa");
});

// Maps that strangers can't fill without limit.

Deno.test("a map keeps the most recently added entries, up to its limit", () => {
  const keys = fc.array(fc.integer({ min: 0, max: 20 }));
  fc.assert(fc.property(keys, fc.integer({ min: 1, max: 10 }), (added, most) => {
    const map = new Map<number, number>();
    const expected: number[] = [];
    for (const [i, key] of added.entries()) {
      map.set(key, i);
      forgetOldest(map, most);
      if (!expected.includes(key)) expected.push(key);
      if (expected.length > most) expected.shift();
      assertEquals([...map.keys()], expected);
    }
  }));
});

Deno.test("a pause takes its time", async () => {
  using time = new FakeTime();
  let over = false;
  const pausing = pause(1000, new AbortController().signal).then(() => over = true);
  time.tick(999);
  await Promise.resolve();
  assertEquals(over, false);
  time.tick(1);
  await pausing;
});

Deno.test("a signal ends a pause, even an endless one, and leaves no timer", async () => {
  const stop = new AbortController();
  const pausing = [pause(1e6, stop.signal), pause(Infinity, stop.signal)];
  stop.abort();
  const other = new AbortController().signal;
  await Promise.all([...pausing, pause(1e6, stop.signal), pause(1e6, other, stop.signal)]);
});
