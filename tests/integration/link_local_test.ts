/** Link-local IPv6 with its scope, in a network namespace that the test makes. */
import { assert, assertEquals } from "@std/assert";
import { networkObstacle, THROUGH_NAMESPACE } from "@degu/testing/network_namespace.ts";
import { runProgram } from "@degu/testing/programs.ts";

const why = await networkObstacle();

Deno.test({
  name: why === null
    ? "link-local addresses: server, client, zones, names, and an address where nobody is"
    : `link-local addresses: left out, no network namespace can be made here (${why})`,
  ignore: why !== null,
  fn: async () => {
    const flags = ["--allow-net", "--allow-run=ip", "--allow-sys=networkInterfaces"];
    const found = JSON.parse(
      await runProgram("link_local.ts", { flags, through: THROUGH_NAMESPACE }),
    );
    const { scopeid, address, session } = found;
    assert(scopeid > 0);
    const [host, port] = address;
    assertEquals(address, ["fe80::1", port, 0, scopeid]);
    assert(port > 0);
    const hostHeader = `[${host}]:${port}`;
    for (const name of ["ownAddress", "zoneByName", "zoneByNumber"]) {
      assertEquals(found[name], [200, hostHeader], name);
    }
    const [[peerHost, peerPort, flowinfo, peerScope], name] = session;
    assertEquals([peerHost.startsWith("fe80::"), flowinfo, peerScope], [true, 0, scopeid]);
    assert(name.includes(peerHost) && name.includes(`:${peerPort}`), name);
    for (const zone of ["left", String(scopeid)]) {
      const [status, own, peer, length, name] = found["forms"][zone];
      assertEquals([status, own, length], [200, `fe80::1%${zone}`, 2]);
      assert(peer.startsWith("fe80::") && peer.endsWith(`%${zone}`), peer);
      assert(name.startsWith(`[${peer}]:`), name);
    }
    assertEquals(found["taken"], true);
    const [timedOut, seconds] = found["lost"];
    assert(timedOut && seconds >= 0.4 && seconds < 2, `${seconds} s`);
  },
});
