/** Access log lines, which no peer can end or forge. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { accessLog } from "@degu/degu/applib";
import type { Exchange, Session } from "@degu/degu/server";
import { uri } from "../fuzz/grammar.ts";
import { mutate } from "../fuzz/mutation.ts";
import { Random } from "../fuzz/random.ts";
import { readAccessLine } from "@degu/testing/access_lines.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { smugglingCorpus } from "@degu/testing/smuggling_corpus.ts";

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

/** Asserts that the line for a target is one line, and has that target. */
function assertTells(target: string): void {
  const { request, status, bytes } = readAccessLine(lineOf(target)) ?? {};
  assertEquals([request, status, bytes], [`GET ${target} HTTP/1.1`, 200, 2]);
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
    assertTells(target);
  }));
});

Deno.test("no mutated target of the fuzzer can either", () => {
  const random = new Random(17);
  for (let i = 0; i < 5000; i++) assertTells(mutate(uri(random), uri(random), random));
});

Deno.test("what could be read as two requests is logged as one line per answered request", async () => {
  let lines: string[] = [];
  const onExchange = accessLog((line) => lines.push(line));
  await using serving = serve(async ({ body }) => {
    await body?.writeTo(new WritableStream());
    return [200, "OK", {}, null];
  }, { onExchange });
  const rows = smugglingCorpus.filter(({ bytes }) => bytes.length < 70_000);
  for (const { name, bytes, accepted, broken } of rows) {
    lines = [];
    using peer = await RawPeer.connect(serving.address);
    await peer.send(bytes).catch(() => {});
    await peer.closeWrite().catch(() => {});
    await peer.readToEnd();
    const requests = accepted.map(({ method, uri }) => `${method} ${uri} HTTP/1.1`);
    if (broken !== undefined) requests.push(`POST ${broken} HTTP/1.1`);
    assertEquals(lines.map((line) => readAccessLine(line)?.request), requests, name);
  }
});

Deno.test("a line has the figures of an exchange over a socket, and a dash for each missing one", async () => {
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
  assertEquals(lines.map((line) => line.replace(/\[.*?\]/, "[]")), [
    '127.0.0.1 - - [] "GET /five HTTP/1.1" 200 5',
    '127.0.0.1 - - [] "GET /?a=%22 HTTP/1.1" 200 -',
    '127.0.0.1 - - [] "GET /throws HTTP/1.1" - -',
  ]);
});

Deno.test("an argument that is not a function is refused", () => {
  assertThrows(() => accessLog(7 as unknown as () => void), TypeError, "write");
});
