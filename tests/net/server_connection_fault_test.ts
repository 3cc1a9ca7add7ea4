/** Faults of an app: the connection closes, and only the log says why. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Body, type BodyIn } from "@degu/degu/base";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { lawless, serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";

Deno.test("whatever an app throws is logged as an error, and nothing is sent", async (t) => {
  const thrown: readonly unknown[] = [
    new Error("secret"),
    "text",
    null,
    undefined,
    0,
    Symbol("symbol"),
    Object.create(null),
    { toString: () => fail() },
    Object.defineProperty(new Error("x"), "stack", { get: () => fail() }),
  ];
  function fail(): never {
    throw new Error("can't be shown");
  }
  for (const [i, value] of thrown.entries()) {
    for (const when of ["handle", "onConnect"] as const) {
      await t.step(`value ${i}, by ${when}`, async () => {
        const raise = () => {
          throw value;
        };
        await using serving = serve({
          handle: raise,
          onConnect: () => when === "handle" || raise(),
        });
        using peer = await RawPeer.connect(serving.address);
        await peer.send("GET / HTTP/1.1\r\n\r\n");
        await peer.assertClosedSilently();
        const [message = ""] = await serving.logger.waitFor("error");
        const { port } = peer.conn.localAddr as Deno.NetAddr;
        assert(message.startsWith(`127.0.0.1:${port}: `), message);
      });
    }
  }
});

Deno.test("a source that was passed is settled when its message is refused", async () => {
  const tracked = new TrackedStream([new Uint8Array(5)]);
  await using serving = serve(() => [200, "bad reason!", {}, new Body(tracked.stream, 5)]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET / HTTP/1.1\r\n\r\n");
  await peer.assertClosedSilently();
  assertEquals(tracked.settled, true);
});

Deno.test("a body whose writeTo throws while its cancel closes the server causes no unhandled rejection", async (t) => {
  const failure = new Error("the disk is full");
  const fail = () => {
    throw failure;
  };
  const writings: Record<string, () => Promise<number>> = {
    "throws": fail,
    "rejects": () => Promise.reject(failure),
  };
  const thens: Record<string, () => unknown> = {
    "nothing": () => {},
    "throws": fail,
    "rejects": () => Promise.reject(failure),
  };
  for (const [how, writeTo] of Object.entries(writings)) {
    for (const [then, finish] of Object.entries(thens)) {
      await t.step(`writeTo ${how}, cancel closes and then ${then}`, async () => {
        using unhandled = unhandledRejections();
        let cancelled = 0;
        const cancel = () => {
          cancelled++;
          serving.server.close();
          return finish();
        };
        const body = { chunked: true, writeTo, cancel };
        await using serving = serve(lawless(() => [200, "OK", {}, body]));
        using peer = await RawPeer.connect(serving.address);
        await peer.send("GET / HTTP/1.1\r\n\r\n");
        await peer.readToEnd();
        await within(serving.done, "serveForever() settles");
        await turnOfEventLoop();
        assert(cancelled > 0);
        assertEquals(unhandled.reasons, []);
      });
    }
  }
});

/** What an app reads a whole body with. */
const READS: Readonly<Record<string, (body: NonNullable<BodyIn>) => Promise<unknown>>> = {
  "bytes": (body) => body.bytes(),
  "text": (body) => body.text(),
  "json": (body) => body.json(),
  "read": (body) => body.read(),
};
const MOST = 16_777_216;

Deno.test("a body that is too long to be read at once is logged at level info, without a stack, with the recipe for 413", async (t) => {
  const piece = `100000\r\n${" ".repeat(0x100000)}\r\n`;
  const framings: Readonly<Record<string, string[]>> = {
    "announced": [`content-length: ${MOST + 1}\r\n\r\n`],
    "in chunks": ["transfer-encoding: chunked\r\n\r\n", ...Array(16).fill(piece), "1\r\n \r\n"],
  };
  for (const [framing, parts] of Object.entries(framings)) {
    for (const [how, read] of Object.entries(READS)) {
      await t.step(`${how}, ${framing}`, async () => {
        await using serving = serve(async ({ body }) => {
          await read(body!);
          return [200, "OK", {}, null];
        });
        using peer = await RawPeer.connect(serving.address);
        await peer.send("PUT /upload HTTP/1.1\r\n", ...parts);
        await peer.assertClosedSilently();
        const [line = ""] = await serving.logger.waitFor("info");
        assertStringIncludes(line, `one read returns at most ${MOST} bytes`);
        assertStringIncludes(
          line,
          'to answer with 413, see "A limit for bodies" in docs/cookbook.md',
        );
        assert(!line.includes("\n"), line);
        assertEquals(serving.logger.at("error"), []);
      });
    }
  }
});

Deno.test("a body of the app's own that is too long to be read at once is an error of the app", async () => {
  await using serving = serve(async () => {
    await new Body(new Blob([]).stream(), MOST + 1).bytes();
    return [200, "OK", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
  await peer.assertClosedSilently();
  await serving.logger.waitFor("error");
  assertEquals(serving.logger.at("info"), []);
});
