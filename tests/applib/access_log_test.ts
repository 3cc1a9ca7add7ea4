/** Lines of the access log, which no peer can end or forge. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { accessLog } from "@degu/degu/applib";
import type { Exchange, Session } from "@degu/degu/server";
import { uri } from "../fuzz/grammar.ts";
import { mutate } from "../fuzz/mutation.ts";
import { Random } from "../fuzz/random.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const LINE =
  /^[^ ]+ - - \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "(?:[ !#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})*" (?:\d{3}|-) (?:\d+|-)$/;

/** The line for a request target, as if any had got through the parser. */
function lineOf(target: string): string {
  const lines: string[] = [];
  const session = { address: ["::1", 80, 0, 0] } as unknown as Session;
  const figures = { requestBytes: 1, responseBytes: 2, firstByteMs: 1, totalMs: 1, error: null };
  const exchange: Exchange = { session, method: "GET", uri: target, status: 200, ...figures };
  accessLog((line) => lines.push(line))(exchange);
  assertEquals(lines.length, 1);
  return lines[0]!;
}

Deno.test("no target can end a line, its quotes or an escape", () => {
  const nasty = fc.string({
    unit: fc.constantFrom(
      '"',
      "\\",
      "\n",
      "\r",
      "\0",
      "\x1b[2J",
      "\u2028",
      "\u202e",
      "é",
      "x",
      " ",
    ),
  });
  fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), nasty), (target) => {
    assertMatch(lineOf(target), LINE);
  }));
});

Deno.test("nor can a target of the fuzzer, mutated", () => {
  const random = new Random(17);
  for (let i = 0; i < 5000; i++) {
    assertMatch(lineOf(mutate(uri(random), uri(random), random)), LINE);
  }
});

Deno.test("a line has the figures of an exchange over a socket, and a dash for what there is not", async () => {
  const lines: string[] = [];
  const wait = Promise.withResolvers<void>();
  const onExchange = accessLog((line) => {
    if (lines.push(line) === 3) wait.resolve();
  });
  const app = (request: { uri: string }) => {
    if (request.uri === "/throws") throw new Error("no");
    return [200, "OK", {}, request.uri === "/five" ? new Uint8Array(5) : null] as const;
  };
  await using serving = serve(app, { onExchange });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(...["/five", "/?a=%22", "/throws"].map((path) => `GET ${path} HTTP/1.1\r\n\r\n`));
  await within(wait.promise, "three lines");
  for (const line of lines) assertMatch(line, LINE);
  assertEquals(lines.map((line) => line.replace(/\[.*?\]/, "[]")), [
    '127.0.0.1 - - [] "GET /five HTTP/1.1" 200 5',
    '127.0.0.1 - - [] "GET /?a=%22 HTTP/1.1" 200 -',
    '127.0.0.1 - - [] "GET /throws HTTP/1.1" - -',
  ]);
});

Deno.test("what is no function is refused", () => {
  assertThrows(() => accessLog(7 as unknown as () => void), TypeError, "write");
});
