/** downloadTree and uploadTree: random trees and moves, and entries that the user can't read. */
import { assert } from "@std/assert";
import { treesCommand } from "./trees/command.ts";

Deno.test({
  name: "trees with entries that the user may not read, search or write, and some random trees",
  ignore: Deno.build.os === "windows",
  async fn() {
    // The same trees in each run: other trees are in `long/` and `deno task fuzz`.
    const counts = { rows: "all", runs: 30, reuse: 10, moves: 15, late: 10, seed: 20261122 };
    const args = Object.entries(counts).flatMap(([name, count]) => [`--${name}`, `${count}`]);
    const { success, stderr } = await (await treesCommand(...args)).output();
    assert(success, new TextDecoder().decode(stderr));
  },
});
