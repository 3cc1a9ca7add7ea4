/** Bodies that open their file. */
import { Body, BodyError } from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { callWith, catchRejection } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import { Client } from "@degu/degu/client";
import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { toFileUrl } from "@std/path";

// The sanitizer of resources fails each of these tests if a file stays open.

Deno.test("Body.fromFile has the bytes of a file, by its path or URL", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/a b`;
  await Deno.writeTextFile(path, "hello");
  for (const at of [path, toFileUrl(path)]) {
    const body = await Body.fromFile(at);
    assertEquals([body.contentLength, body.used], [5, false]);
    assertEquals(await body.text(), "hello");
  }
  await Deno.writeTextFile(path, "");
  assertEquals(await (await Body.fromFile(path)).text(), "");
});

Deno.test("Body.fromFile closes the file when the body is consumed, canceled, disposed of, or fails", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  const endings: Record<string, (body: Body) => Promise<unknown>> = {
    read: (body) => body.read(),
    "in parts": async (body) => {
      while ((await body.read(2)).length > 0);
    },
    canceled: (body) => body.cancel(),
    "canceled in the middle": async (body) => {
      await body.read(2);
      await body.cancel(new Error("enough"));
    },
    "disposed of": async (body) => {
      await using _body = body;
    },
    "disposed of twice": async (body) => {
      await body.cancel();
      await using _body = body;
    },
    iterated: async (body) => {
      for await (const _ of body) break;
    },
    streamed: (body) => body.readable.cancel(),
    truncated: async (body) => {
      await Deno.truncate(path, 2);
      assertInstanceOf(await catchRejection(body.read(), "a truncated file"), BodyError);
    },
  };
  for (const end of Object.values(endings)) {
    await Deno.writeTextFile(path, "hello");
    await end(await Body.fromFile(path));
  }
});

Deno.test("bytes that are appended to a file while it is sent are not sent", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeTextFile(path, "hello");
  const body = await Body.fromFile(path);
  await Deno.writeTextFile(path, ", world", { append: true });
  assertEquals(await body.text(), "hello");
});

Deno.test("a server closes the file of a response, also after HEAD, and with an invalid reason", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeTextFile(path, "hello");
  await using serving = serve(async ({ path: [reason = "OK"] }) => {
    return [200, reason, {}, await Body.fromFile(path)];
  });
  const client = new Client(serving.server.address);
  assertEquals(await (await client.request("GET", "/")).text(), "hello");
  assertEquals((await client.request("HEAD", "/")).headers["content-length"], 5);
  assertEquals((await client.request("GET", "/%0A")).status, 500); // an invalid reason
});

Deno.test("Body.fromFile rejects for a missing file and for wrong arguments", async () => {
  await using dir = await createTempDir();
  await assertRejects(() => Body.fromFile(`${dir.path}/none`), Deno.errors.NotFound);
  assertInstanceOf(await catchRejection(Body.fromFile(dir.path), "a directory"), RangeError);
  for (const path of [undefined, null, 5, {}]) {
    const opening = callWith(Body.fromFile, path) as Promise<unknown>;
    assertInstanceOf(await catchRejection(opening, Deno.inspect(path)), TypeError);
  }
});
