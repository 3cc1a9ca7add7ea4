/** Bodies as lines: linesOf reads them, and makeLineBody sends them. */
import { BodyError, Client, reply, Server } from "@degu/degu";
import { linesOf, makeLineBody } from "@degu/degu/base";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";

Deno.test("linesOf yields each line without its end, wherever the bytes are cut", async (t) => {
  const rows: [text: string, lines: string[]][] = [
    ["", []],
    ["\n", [""]],
    ["a", ["a"]],
    ["a\n", ["a"]],
    ["a\r\nb", ["a", "b"]],
    ["a\n\n\r\nb\n", ["a", "", "", "b"]],
    ["a\rb\n\r", ["a\rb", "\r"]],
    ["\u{1f600}\n\u00e9", ["\u{1f600}", "\u00e9"]],
  ];
  await testEachRow(
    t,
    rows.map(([text, lines]) => [JSON.stringify(text), text, lines] as const),
    async (_rule, text, lines) => {
      const bytes = new TextEncoder().encode(text);
      for (const size of [1, 2, 100]) {
        const pieces = Array.from(
          { length: Math.ceil(bytes.length / size) },
          (_, index) => bytes.slice(index * size, (index + 1) * size),
        );
        assertEquals(await Array.fromAsync(linesOf(ReadableStream.from(pieces))), lines);
      }
    },
  );
  assertEquals(await Array.fromAsync(linesOf(null)), []);
});

Deno.test("linesOf accepts a line of maxLength, and cancels the stream at a longer line or at invalid UTF-8", async () => {
  const read = async (pieces: readonly string[]) => {
    let isCanceled = false;
    const waiting = [...pieces];
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(encodeLatin1(waiting.shift() ?? "\n")),
      cancel: () => void (isCanceled = true),
    }, { highWaterMark: 0 });
    const lines: string[] = [];
    const reading = async () => {
      for await (const line of linesOf(stream, { maxLength: 3 })) {
        lines.push(line);
        if (lines.length === pieces.length) break;
      }
    };
    const error = await reading().catch((error) => error);
    return [lines, error?.code ?? error?.name, isCanceled];
  };
  assertEquals(await read(["abc\r\n", "abc\n"]), [["abc", "abc"], undefined, true]);
  assertEquals(await read(["abc\n", "abcd\n"]), [["abc"], "TOO_LONG", true]);
  assertEquals(await read(["abc\n", "ab", "cd"]), [["abc"], "TOO_LONG", true]);
  assertEquals(await read(["abc\n", "\xff\n"]), [["abc"], "TypeError", true]);
});

Deno.test("linesOf and makeLineBody check their arguments at once", () => {
  for (const maxLength of [0, 1.5, 16777217]) {
    assertThrows(() => linesOf(null, { maxLength }), RangeError, "maxLength");
  }
  for (const source of [undefined, "text", {}, 5] as never[]) {
    assertThrows(() => linesOf(source), TypeError, "source: must be a request");
    assertThrows(() => makeLineBody(source), TypeError, "lines: must be");
  }
  const source = ReadableStream.from(["a"]);
  for (const silenceSeconds of [0, -1, 3601, NaN]) {
    assertThrows(() => makeLineBody(source, { silenceSeconds }), RangeError, "silenceSeconds");
  }
});

Deno.test("makeLineBody sends an empty line after each silence, and loses no line", async () => {
  using time = new FakeTime();
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  const body = makeLineBody(readable, { silenceSeconds: 2 });
  for (let i = 0; i < 2; i++) {
    const next = body.next();
    time.tick(2000);
    assertEquals((await next).value, "\n");
  }
  void writer.write("a");
  assertEquals((await body.next()).value, "a\n");
  const closed = writer.close();
  assertEquals(await body.next(), { done: true, value: undefined });
  await closed;
});

Deno.test("makeLineBody passes on the error of its source, and cancels the source of a canceled body", async () => {
  const failing = makeLineBody(
    // deno-lint-ignore require-yield
    (async function* () {
      throw new BodyError("lost");
    })(),
  );
  await assertRejects(() => failing.next(), BodyError, "lost");
  const canceled = Promise.withResolvers<void>();
  const source = new ReadableStream<string>({
    pull: (controller) => controller.enqueue("a"),
    cancel: () => canceled.resolve(),
  });
  const body = makeLineBody(source);
  assertEquals((await body.next()).value, "a\n");
  await body.return();
  await canceled.promise;
});

Deno.test("both sides of a conversation survive a silence that is longer than their time-outs", async () => {
  const options = { silenceSeconds: 0.1 };
  const stop = Promise.withResolvers<void>();
  async function* answers(lines: AsyncIterable<string>) {
    for await (const line of lines) if (line !== "") yield line.toUpperCase();
  }
  await using server = await Server.start(
    ["127.0.0.1", 0],
    (request) => reply(200, makeLineBody(answers(linesOf(request)), options)),
    { timeout: 1 },
  );
  async function* questions() {
    yield "a";
    await stop.promise;
    yield "b";
  }
  const client = new Client(server.address, { timeout: 1 });
  const body = makeLineBody(questions(), options);
  const response = await client.request("POST", "/", {}, body, { duplex: "full" });
  const received: string[] = [];
  let emptyCount = 0;
  for await (const line of linesOf(response)) {
    if (line !== "") received.push(line);
    // More than two time-outs have passed.
    else if (++emptyCount === 23) stop.resolve();
  }
  assertEquals(received, ["A", "B"]);
});
