/** Faults of an app: the connection closes, and only the log says why. */
import { assert, assertEquals } from "@std/assert";
import { Body } from "@degu/degu/base";
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
