/** Listening for plain connections. */
import { assertEquals } from "@std/assert";
import { PlainListener } from "@degu/internal/net/listener.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

/** What a call of `setNoDelay` was given. */
interface NoDelay {
  setNoDelay(noDelay?: boolean): void;
}

Deno.test("an accepted connection does not delay small writes (TCP_NODELAY)", async () => {
  const listener = new PlainListener(["127.0.0.1", 0], new RecordingLogger());
  const [hostname, port] = listener.address as [string, number];
  using client = await Deno.connect({ hostname, port });
  // The option can't be read back, so this watches that it is set.
  const prototype: NoDelay = Object.getPrototypeOf(client);
  const { setNoDelay } = prototype;
  const calls: unknown[] = [];
  prototype.setNoDelay = function (noDelay) {
    calls.push(noDelay);
    setNoDelay.call(this, noDelay);
  };
  try {
    using _conn = await listener.acceptConn();
  } finally {
    prototype.setNoDelay = setNoDelay;
    listener.close();
  }
  assertEquals(calls, [true]);
});
