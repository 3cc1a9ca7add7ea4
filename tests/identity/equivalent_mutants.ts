/** Changes of identity/ that no test can detect, for `deno task mutate`: see tools/mutants.ts. */

import type { EquivalentMutants } from "../../tools/mutants.ts";

export const EQUIVALENT_MUTANTS: EquivalentMutants = {
  "identity/certificates.ts": {
    "signLeaf": [
      [
        'crypto.subtle.importKey("pkcs8", key, KEY_ALGORITHM, false, ["sign"])',
        'crypto.subtle.importKey("pkcs8", key, KEY_ALGORITHM, true, ["sign"])',
        "nobody exports it",
      ],
    ],
  },
  "identity/device_pki.ts": {
    "loadCurrentIdentity": [
      [
        "certificateValidity.validFrom.getTime() > Date.now()",
        "certificateValidity.validFrom.getTime() >= Date.now()",
        "a millisecond",
      ],
    ],
    "loadIdentity": [
      [
        "Date.now() < authorityValidity.validFrom.getTime()",
        "Date.now() <= authorityValidity.validFrom.getTime()",
        "a millisecond",
      ],
    ],
    "removeLeftBehind": [
      ["age > LEFT_BEHIND_AFTER", "age >= LEFT_BEHIND_AFTER", "a millisecond"],
    ],
  },
  "identity/names.ts": {
    "deviceId": [
      ["parseInt(digit, 32)", "parseInt(digit, 33)", "no digit has that value"],
    ],
  },
  "identity/private_paths.ts": {
    "MAX_LINKS": [
      ["40", "41", "as it says"],
    ],
    "PrivatePaths.check": [
      ["this.#user === null", "false", "on Windows alone is there none"],
    ],
    "PrivatePaths.checkWay": [
      ["this.#user === null", "false", "on Windows alone is there none"],
      ["links = 0", "links = 1", "no system follows as many"],
      ["<=", "<", "no system follows as many"],
    ],
    "statIfReadable": [
      [
        'state !== "granted"',
        "false",
        "a person would be asked for it, and else it is `NotCapable`",
      ],
    ],
  },
};
