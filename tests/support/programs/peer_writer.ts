/**
 * Changes the peers of a device in an endless loop, in a separate process that is to be killed, and reports
 * each change when it is complete. Arguments: the directory, the number of the last change, and the certificates of two
 * peers.
 */

import { readAuthorityText } from "@degu/internal/identity/authority.ts";
import { PeerStore } from "@degu/internal/device/peer_store.ts";

/** What is true of two peers after so many changes: the name of the one, and the port of the other. */
export function stateAfter(changes: number): { name: string; port: number | null } {
  const port = changes % 3 === 1 ? changes : null;
  return { name: `n-${changes - changes % 3}`, port };
}

if (import.meta.main) {
  const [dir = "", last = "", ...certificates] = Deno.args;
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const store = new PeerStore(dir, logger);
  const [one, two] = certificates.map(readAuthorityText);
  for (let changes = Number(last) + 1;; changes++) {
    const { name, port } = stateAfter(changes);
    if (changes % 3 === 0) await store.rename(one!.id, name);
    else if (port === null) await store.forget(two!.id);
    else {
      const addresses = [["127.0.0.1", port] as const];
      await store.record({ authority: two!, receivedName: "two", addresses });
    }
    console.log(changes);
  }
}
