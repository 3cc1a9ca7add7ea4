/** Listening at IPv4 and IPv6, also on systems that need a socket for each. */
import type { Address } from "@degu/degu/base";
import {
  DualStackListener,
  needsDualStackListener,
} from "@degu/internal/net/server/dual_stack_listener.ts";
import { PlainListener } from "@degu/internal/net/transport/listener.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { findNetworkObstacle, THROUGH_NAMESPACE } from "@degu/testing/namespaces.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { patch } from "@degu/testing/patching.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { makeSafeLogger } from "@degu/internal/base/app/logger.ts";
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";

const log = makeSafeLogger(new RecordingLogger());

/** Listens at the loopback address instead of all addresses. */
function listenAtLoopback([host, port]: Address): PlainListener {
  return new PlainListener([host === "::" ? "::1" : "127.0.0.1", port as number], log);
}

Deno.test({
  name: "a dual-stack listener accepts peers of IPv4 and IPv6 at one port, in any order",
  ignore: !hasIPv6,
  async fn() {
    const listener = new DualStackListener(["::", 0], listenAtLoopback, log);
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
  name: "on Windows, listening fails if the port is in use for IPv4, and leaves it free for IPv6",
  ignore: !hasIPv6,
  fn() {
    using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    assertThrows(
      () => new DualStackListener(["::", port], listenAtLoopback, log),
      Deno.errors.AddrInUse,
    );
    Deno.listen({ hostname: "::1", port }).close();
  },
});

Deno.test("only unspecified addresses of IPv6 need two sockets", () => {
  assertEquals(needsDualStackListener(["::", 80]), true);
  assertEquals(needsDualStackListener(["0:0::0", 80]), true);
  for (const address of [["::1", 80], ["0.0.0.0", 80], "/a", new Uint8Array()] as Address[]) {
    assertEquals(needsDualStackListener(address), false);
  }
});

/** Returns the command that sets the sysctl in a network namespace, and runs the appended one. */
const makeNamespace = (bindv6only: 0 | 1) => [
  ...THROUGH_NAMESPACE,
  ...["bash", "-c", `echo ${bindv6only} > /proc/sys/net/ipv6/bindv6only && exec "$0" "$@"`],
];

const obstacle = await findObstacle([...makeNamespace(1), "true"]) ?? await findNetworkObstacle();

Deno.test("a server at :: accepts IPv4 and IPv6 with every setting of bindv6only", {
  ...ignoreIf(obstacle),
}, async (t) => {
  const sslconfigs = JSON.stringify(await openSharedPki());
  const rows: readonly [string, 0 | 1, net: string, peers: readonly string[]][] = [
    ["0, all addresses are permitted", 0, "--allow-net", ["127.0.0.1", "::1", "127.0.0.1"]],
    ["1, all addresses are permitted", 1, "--allow-net", ["127.0.0.1", "::1", "127.0.0.1"]],
    [
      "1, IPv4 isn't permitted",
      1,
      "--allow-net=[::],[::1],127.0.0.1",
      ["ConnectionRefused", "::1", "ConnectionRefused"],
    ],
  ];
  await testEachRow(t, rows, async (_name, bindv6only, net, peers) => {
    const flags = ["--allow-read", "--allow-run=ip", net];
    const options = { flags, args: [sslconfigs], through: makeNamespace(bindv6only) };
    const findings = JSON.parse(await runProgram("ipv6_only_sockets.ts", options));
    for (const [actualPeers, lines] of findings) {
      assertEquals(actualPeers.map((peer: string) => peer.replace(/:? .*/, "")), peers);
      assertEquals(lines.length, net === "--allow-net" ? 0 : 1);
      if (lines.length > 0) {
        assertMatch(lines[0], /^the server doesn't listen at 0\.0\.0\.0:\d+ \(/);
      }
    }
    assertEquals(findings.length, 2);
  });
});
