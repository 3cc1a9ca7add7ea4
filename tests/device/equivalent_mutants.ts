/** Changes of device/ that no test can detect, for `deno task mutate`: see tools/mutants.ts. */

import type { EquivalentMutants } from "../../tools/mutants.ts";

export const EQUIVALENT_MUTANTS: EquivalentMutants = {
  "device/device_directory.ts": {
    "makePrivate": [
      ["mode: 0o700", "mode: 449", "what that lets others do is taken away below"],
      [
        "(await Deno.stat(path)).mode ?? 0",
        "(await Deno.stat(path)).mode ?? 1",
        "only Windows has no mode",
      ],
    ],
    "StateDirectory.remove": [
      [
        "if (isRemoved) await syncDirectory(this.path);",
        "if (true) await syncDirectory(this.path);",
        "to sync once more",
      ],
    ],
  },
  "device/invitation_line.ts": {
    "decodeLine": [
      ["version = 0", "version = 1", "without a byte there is no checksum either"],
    ],
    "readRest": [
      ["65535", "65536", "two bytes have no more"],
    ],
  },
  "device/invite.ts": {
    "Invitation.#listenEverywhere": [
      ['each.status === "rejected"', "true", "here all are"],
    ],
    "Invitation.#answer": [
      [
        "visit === undefined || this.#ending !== null",
        "false",
        "both end its session in the same turn of the event loop",
      ],
      ["||", "&&", "both end its session in the same turn of the event loop"],
    ],
    "limitReading": [
      ["left + 1", "left + 2", "two bytes above it are as bad"],
      ["count ?? 0", "count ?? 1", "after the end there is nothing to limit"],
    ],
  },
  "device/join.ts": {
    "withOwnScopes": [
      ["[host, port, 0, scope]", "[host, port, 1, scope]", "nobody on a link looks at the flow"],
    ],
  },
  "device/peer_store.ts": {
    "PeerStore.watch": [
      ["reads = 0", "reads = 1", "the first look sets it"],
    ],
    "PeerStore.forget": [
      ["id === null", "false", 'no peer\'s file has the name "null.json"'],
    ],
    "PeerStore.#readText": [
      [
        "await file.read(bytes) ?? 0",
        "await file.read(bytes) ?? 1",
        "there is no end in a file of no bytes either: it has none to take",
      ],
    ],
  },
  "device/plain_port.ts": {
    "PlainPort.#ask": [
      ["pause(0)", "pause(1)", "a millisecond later"],
    ],
  },
  "device/serving_records.ts": {
    "MAX_RECORD_BYTES": [
      ["1024", "1025", "no address is as long"],
    ],
    "ServingRecords.#read": [
      [
        "await file.read(bytes) ?? 0",
        "await file.read(bytes) ?? 1",
        "an empty text is no address, nor is a byte 0",
      ],
    ],
  },
  "device/visits.ts": {
    "hangUp": [
      ["403", "404", "it is never sent"],
    ],
  },
};
