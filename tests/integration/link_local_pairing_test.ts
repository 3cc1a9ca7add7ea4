/** Pairing over link-local IPv6, in a network namespace that the test makes. */
import { assert, assertEquals } from "@std/assert";
import { tempDir } from "@degu/testing/directories.ts";
import { networkObstacle, THROUGH_NAMESPACE } from "@degu/testing/network_namespace.ts";
import { runProgram } from "@degu/testing/programs.ts";

const why = await networkObstacle();

Deno.test({
  name: why === null
    ? "two devices on one link are paired, and each has the other's link-local addresses with its own scope"
    : `pairing over link-local addresses: left out, no network namespace can be made here (${why})`,
  ignore: why !== null,
  fn: async () => {
    await using dir = await tempDir();
    const paths = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
    const flags = [
      "--allow-net",
      "--allow-run=ip",
      "--allow-sys=networkInterfaces,uid",
      ...paths,
    ];
    const found = JSON.parse(
      await runProgram("link_local_pairing.ts", {
        flags,
        args: [dir.path],
        through: THROUGH_NAMESPACE,
        patience: 60,
      }),
    );
    const { left, right } = found;
    assert(left > 0 && right > 0);
    // Without a scope, which means nothing at the other end.
    assertEquals(found["inLine"], ["fe80::1"]);
    // Over the cable from its other end, or directly, as both ends are here: whichever is faster.
    const [[, , , scope]] = found["atViewer"];
    assert(scope === left || scope === right, `${scope} is not ${left} or ${right}`);
    assertEquals(found["atViewer"], [["fe80::1", 7443, 0, scope], ["10.0.0.1", 80]]);
    assertEquals(found["atCamera"], [["fe80::1", 7444, 0, left]]);
    const own: string[] = found["inOwn"];
    assert(own.includes("fe80::1") && own.every((host) => host.startsWith("fe80::")), own.join());
    assertEquals(found["paired"], "viewer");
  },
});
