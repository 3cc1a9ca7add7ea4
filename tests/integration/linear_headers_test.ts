/** The time of functions that copy or convert headers. */
import { checkLinear } from "../fuzz/check_linear.ts";
import { HEADER_TARGETS } from "../fuzz/header_targets.ts";

Deno.test("the time of each copy of headers, and of each bridge to fetch, grows linearly with the number of headers and of options of connection", async (t) => {
  for (const [name, target] of HEADER_TARGETS) {
    await t.step(name, async () => {
      await checkLinear(target, "", "a,", "");
      await checkLinear(target, "x-", "1", ",x-1");
    });
  }
});
