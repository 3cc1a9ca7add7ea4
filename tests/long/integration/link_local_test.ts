/** Link-local IPv6 addresses with scopes, in network namespaces. */
import { createTempDir } from "@degu/testing/directories.ts";
import { findNetworkObstacle, THROUGH_NAMESPACE } from "@degu/testing/namespaces.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals } from "@std/assert";

const networkObstacle = await findNetworkObstacle();
const obstacle = networkObstacle && `no network namespace can be made here (${networkObstacle})`;
const flags = ["--allow-net", "--allow-run=ip", "--allow-sys=networkInterfaces,uid"];
const through = THROUGH_NAMESPACE;

Deno.test(
  "link-local addresses work: server, client, zones, names, TLS, and an unused address",
  ignoreIf(obstacle),
  async () => {
    const pki = await openSharedPki();
    const options = { flags: [...flags, "--allow-read"], args: [JSON.stringify(pki)], through };
    const findings = JSON.parse(await runProgram("link_local.ts", options));
    const { scopeid, address, session } = findings;
    assert(scopeid > 0);
    const [host, port] = address;
    assertEquals(address, ["fe80::1", port, 0, scopeid]);
    assert(port > 0);
    const hostHeader = `[${host}]:${port}`;
    for (const name of ["ownAddress", "zoneByName", "zoneByNumber"]) {
      assertEquals(findings[name], [200, hostHeader], name);
    }
    const [[peerHost, peerPort, flowinfo, peerScope], name] = session;
    assertEquals([peerHost.startsWith("fe80::"), flowinfo, peerScope], [true, 0, scopeid]);
    assert(name.includes(peerHost) && name.includes(`:${peerPort}`), name);
    for (const zone of ["left", String(scopeid)]) {
      const [status, ownAddress, peer, length, name] = findings["forms"][zone];
      assertEquals([status, ownAddress, length], [200, `fe80::1%${zone}`, 2]);
      assert(peer.startsWith("fe80::") && peer.endsWith(`%${zone}`), peer);
      assert(name.startsWith(`[${peer}]:`), name);
    }
    assertEquals(findings["secured"].length, 4);
    for (const [i, [subject, [peer, , flowinfo, scope]]] of findings["secured"].entries()) {
      assertEquals(subject, "CN=TempPKI client");
      assertEquals([flowinfo, scope], i < 2 ? [0, scopeid] : [undefined, undefined]);
      assert(i < 2 ? /^fe80::[^%]+$/.test(peer) : /^fe80::.+%left$/.test(peer), peer);
    }
    assertEquals(findings["taken"], true);
    const [timedOut, seconds] = findings["lost"];
    assert(timedOut && seconds >= 0.4 && seconds < 2, `${seconds} s`);
  },
);

Deno.test(
  "two devices on one link are paired, and each stores the other's link-local addresses with its own scope",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    const paths = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
    const options = { flags: [...flags, ...paths], args: [dir.path], through };
    const findings = JSON.parse(await runProgram("link_local_pairing.ts", options));
    const { left, right } = findings;
    assert(left > 0 && right > 0);
    // The line has no scope, which would be meaningless to the joiner.
    assertEquals(findings["inLine"], ["fe80::1"]);
    // Over the cable or over loopback, whichever is faster, because both devices are on this
    // machine.
    const [[, , , scope]] = findings["atViewer"];
    assert(scope === left || scope === right, `${scope} is not ${left} or ${right}`);
    assertEquals(findings["atViewer"], [["fe80::1", 7443, 0, scope], ["10.0.0.1", 80]]);
    assertEquals(findings["atCamera"], [["fe80::1", 7444, 0, left]]);
    const ownAddresses: string[] = findings["inOwn"];
    assert(
      ownAddresses.includes("fe80::1") && ownAddresses.every((host) => host.startsWith("fe80::")),
      ownAddresses.join(),
    );
    assertEquals(findings["paired"], "viewer");
  },
);
