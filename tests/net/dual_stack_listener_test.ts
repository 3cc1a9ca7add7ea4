/** Listening at IPv4 and IPv6 on systems that need a socket for each. */
import type { Address } from "@degu/degu/base";
import {
  DualStackListener,
  needsDualStackListener,
} from "@degu/internal/net/dual_stack_listener.ts";
import { PlainListener } from "@degu/internal/net/listener.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { patch } from "@degu/testing/patching.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { makeSafeLogger } from "@degu/internal/net/logger.ts";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";

/** Listens at the loopback address instead of all addresses. */
function listenAtLoopback([host, port]: Address): PlainListener {
  const log = makeSafeLogger(new RecordingLogger());
  return new PlainListener([host === "::" ? "::1" : "127.0.0.1", port as number], log);
}

Deno.test({
  name: "a dual-stack listener accepts peers of IPv4 and IPv6 at one port, in any order",
  ignore: !hasIPv6,
  async fn() {
    const listener = new DualStackListener(["::", 0], listenAtLoopback);
    await listener.ready;
    const [, port] = listener.address as [string, number];
    for (const hostname of ["127.0.0.1", "::1", "::1", "127.0.0.1"]) {
      const accepting = listener.accept();
      using conn = await Deno.connect({ hostname, port });
      const { address, socket } = await accepting;
      assertEquals(address?.slice(0, 2), [hostname, (conn.localAddr as Deno.NetAddr).port]);
      socket.close();
    }
    const accepting = listener.accept();
    listener.close();
    await assertRejects(() => accepting);
    await listener.waitUntilEnded();
  },
});

Deno.test({
  name: "if the port is in use for IPv4, listening fails, and leaves the port free for IPv6",
  ignore: !hasIPv6,
  fn() {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    assertThrows(
      () => new DualStackListener(["::", port], listenAtLoopback),
      Deno.errors.AddrInUse,
    );
    Deno.listen({ hostname: "::1", port }).close();
  },
});

Deno.test("only Windows needs two sockets, and only for unspecified addresses", () => {
  using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
  assertEquals(needsDualStackListener(["::", 80]), true);
  assertEquals(needsDualStackListener(["0:0::0", 80]), true);
  for (const address of [["::1", 80], ["0.0.0.0", 80], "/a", new Uint8Array()] as Address[]) {
    assertEquals(needsDualStackListener(address), false);
  }
});
