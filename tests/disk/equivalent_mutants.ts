/** Changes of disk/ that no test can detect, for `deno task mutate`: see tools/mutants.ts. */

import type { EquivalentMutants } from "../../tools/mutants.ts";

export const EQUIVALENT_MUTANTS: EquivalentMutants = {
  "disk/files.ts": {
    "EarlySync.finish": [
      ["this.#written > this.#begun", "true", "to sync once more"],
      ["this.#written > this.#begun", "this.#written >= this.#begun", "to sync once more"],
    ],
    "TURN_MILLISECONDS": [
      ["TURN_MILLISECONDS = 4", "TURN_MILLISECONDS = 5", "a millisecond more"],
    ],
    "Turns.isOver": [
      [">=", ">", "a moment more"],
    ],
  },
  "disk/names.ts": {
    "AT_ONCE": [
      ["32", "33", "one more"],
    ],
  },
  "disk/private_files.ts": {
    "writeText": [
      ["error instanceof Error", "true", "whatever Deno throws is one"],
    ],
  },
};
