/** Is loaded before test modules: prints the name of each test, and runs none. */

import { patch } from "../support/patching.ts";

const nameOf = (argument: unknown): unknown =>
  typeof argument === "string" ? argument : (argument as { readonly name?: unknown }).name;

patch(Deno as { test: typeof Deno.test }, "test", (test) => {
  return new Proxy(test, {
    apply: (_target, _self, args) => {
      const name = args.map(nameOf).find((name) => typeof name === "string" && name !== "");
      console.log(`test name: ${JSON.stringify(name)}`);
    },
  });
});
