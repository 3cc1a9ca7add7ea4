/** Listening for plain connections. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { PlainListener } from "@degu/internal/net/listener.ts";
import { tempDir } from "@degu/testing/directories.ts";
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

Deno.test("a system error at binding names the address, and keeps its class", async () => {
  await using dir = await tempDir();
  const listener = new PlainListener(["127.0.0.1", 0], new RecordingLogger());
  const [host, port] = listener.address as [string, number];
  const path = `${dir.path}/file`;
  Deno.createSync(path).close();
  const remove = "the path exists: remove it if nothing listens there any more";
  const { AddrInUse, AddrNotAvailable, NotFound } = Deno.errors;
  const cases: [Address, typeof AddrInUse, RegExp][] = [
    [[host, port], AddrInUse, RegExp(`^can't listen at ${host}:${port}: .*in use.*\\)$`)],
    [path, AddrInUse, RegExp(`^can't listen at unix:${path}: .*in use.*; ${remove}$`)],
    [["192.0.2.1", 0], AddrNotAvailable, /^can't listen at 192\.0\.2\.1:0: /],
    [`${path}.d/socket`, NotFound, RegExp(`^can't listen at unix:${path}.d/socket: `)],
  ];
  try {
    for (const [address, Class, message] of cases) {
      const error = assertThrows(() => new PlainListener(address, new RecordingLogger()), Class);
      assertMatch(error.message, message);
    }
  } finally {
    listener.close();
  }
});
