/** Replaces `Deno.test`, so that another function gets the arguments of each test. */

import { patch } from "../support/patching.ts";

export function patchTests(register: (test: typeof Deno.test, args: unknown[]) => void): void {
  patch(Deno as { test: typeof Deno.test }, "test", (test) => {
    const registerEach = (rows: readonly string[]) => (name: string, fn: RunRow) => {
      for (const row of rows) {
        register(test, [name.replace("%s", row), (t: Deno.TestContext) => fn(row, t)]);
      }
    };
    return new Proxy(test, {
      apply: (_target, _self, args) => register(test, args),
      get: (target, key) => key === "each" ? registerEach : Reflect.get(target, key),
    });
  });
}

type RunRow = (row: string, t: Deno.TestContext) => unknown;
