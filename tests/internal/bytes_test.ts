/** Bytes and pauses. */
import { decodeAscii } from "@degu/internal/internal/bytes.ts";
import { pause } from "@degu/internal/internal/pause.ts";
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";

Deno.test("decodeAscii maps each ASCII byte to its character, and other bytes to other characters", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    const text = decodeAscii(bytes);
    const ascii = [...bytes].every((byte) => byte < 0x80);
    assertEquals(/^[\0-\x7f]*$/.test(text), ascii);
    if (ascii) assertEquals(text, String.fromCharCode(...bytes));
    // ASCII characters keep their order, so no other byte can hide one.
    const asciiText = [...text].filter((character) => character < "\x80").join("");
    assertEquals(asciiText, String.fromCharCode(...bytes.filter((byte) => byte < 0x80)));
  }));
  assertEquals(decodeAscii(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "\ufeffa");
});

// Pauses.

Deno.test("pause() resolves after its milliseconds", async () => {
  using time = new FakeTime();
  let hasEnded = false;
  const pausing = pause(1000, new AbortController().signal).then(() => hasEnded = true);
  time.tick(999);
  await Promise.resolve();
  assertEquals(hasEnded, false);
  time.tick(1);
  await pausing;
});

Deno.test("a signal ends a pause, and leaves no timer", async () => {
  const stop = new AbortController();
  let hasEnded = false;
  const pausing = pause(1e6, stop.signal).then(() => hasEnded = true);
  await pause(5);
  assertEquals(hasEnded, false);
  stop.abort();
  await Promise.all([pausing, pause(1e6, stop.signal)]);
});
