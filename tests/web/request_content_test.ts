/** The body of a request, and whether it can be sent again. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import { BodyIter, type BodyOut, ChunkedBodyIter } from "@degu/degu/base";
import { contentOf, noContent, type RequestContent } from "@degu/internal/web/request_content.ts";
import { RecordingSink, streamOf } from "@degu/testing/streams.ts";

/** The content of a request that is made with this body. */
function contentFor(body: unknown, method = "POST", headers = {}): Promise<RequestContent> {
  const init = { method, body, duplex: "half" } as RequestInit;
  return contentOf(new Request("http://a/", init), body, headers);
}

async function textOf(body: BodyOut): Promise<string | null> {
  if (body === null) return null;
  if (body instanceof Uint8Array) return new TextDecoder().decode(body);
  assertInstanceOf(body, BodyIter);
  const sink = new RecordingSink();
  await body.writeTo(sink);
  return new TextDecoder().decode(sink.bytes);
}

const form = new FormData();
form.set("a", "b");

const fixed: Record<string, [body: unknown, text: RegExp]> = {
  "text": ["hello", /^hello$/],
  "bytes": [new TextEncoder().encode("hello"), /^hello$/],
  "a buffer": [new TextEncoder().encode("hello").buffer, /^hello$/],
  "a blob": [new Blob(["hel", "lo"]), /^hello$/],
  "an empty blob": [new Blob([]), /^$/],
  "parameters": [new URLSearchParams({ a: "b c" }), /^a=b\+c$/],
  "a form": [form, /^--[^]*name="a"\r\n\r\nb\r\n--/],
};

for (const [what, [body, text]] of Object.entries(fixed)) {
  Deno.test(`${what} can be sent repeatedly`, async () => {
    const content = await contentFor(body);
    assertEquals(content.replayable, true);
    for (let i = 0; i < 3; i++) assertEquals(text.test(await textOf(content.take()) ?? ""), true);
  });
}

Deno.test("a request without a body has a length of 0 if its method allows one", async () => {
  for (const method of ["GET", "HEAD", "DELETE", "PUT", "POST"]) {
    const content = await contentFor(null, method);
    const expected = ["PUT", "POST"].includes(method) ? "" : null;
    assertEquals([content.replayable, await textOf(content.take())], [true, expected], method);
  }
  assertEquals([noContent.replayable, noContent.take()], [true, null]);
});

Deno.test("a stream whose pieces are all available is sent with its length, and can be sent again", async () => {
  const bytes = new TextEncoder().encode("hello");
  const content = await contentFor(streamOf(bytes.subarray(0, 2), bytes.subarray(2)));
  assertEquals(content.replayable, true);
  for (let i = 0; i < 2; i++) assertEquals(await textOf(content.take()), "hello");
});

Deno.test("a stream that must be awaited is sent once, chunked or with the given length", async () => {
  for (const length of [undefined, 5]) {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const content = await contentFor(readable, "POST", length ? { "content-length": length } : {});
    const body = content.take();
    assertEquals(content.replayable, false);
    if (length === undefined) assertInstanceOf(body, ChunkedBodyIter);
    else assertInstanceOf(body, BodyIter);
    const sink = new RecordingSink();
    const writing = body.writeTo(sink);
    const writer = writable.getWriter();
    await writer.write(new TextEncoder().encode("hello"));
    await writer.close();
    await writing;
    const sent = new TextDecoder().decode(sink.bytes);
    assertEquals(sent, length === undefined ? "5\r\nhello\r\n0\r\n\r\n" : "hello");
  }
});

Deno.test("transfer-encoding requests chunks, even if everything is available", async () => {
  const stream = streamOf(new TextEncoder().encode("hello"));
  const content = await contentFor(stream, "POST", { "transfer-encoding": "chunked" });
  assertEquals(content.replayable, false);
  assertInstanceOf(content.take(), ChunkedBodyIter);
});
