/**
 * Changes the peers of devices in endless loops until it is killed, and reports each completed
 * change. Arguments: the certificates of two peers, and for each device its directory and the
 * number of the last change.
 */

import { PeerStore } from "@degu/internal/device/peers/peer_store.ts";
import { readAuthority } from "@degu/internal/device/identity/authority.ts";
import { forgetIfStored } from "@degu/testing/device_pairs.ts";

/** Returns the name of one peer, and the port of the other, after this many changes. */
export function stateAfter(changes: number): { name: string; port: number | null } {
  const port = changes % 3 === 1 ? changes : null;
  return { name: `n-${changes - changes % 3}`, port };
}

if (import.meta.main) {
  const [firstPeer, secondPeer] = Deno.args.slice(0, 2).map(readAuthority);
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const write = async (dir: string, last: number) => {
    const store = new PeerStore(dir, logger);
    for (let changes = last + 1;; changes++) {
      const { name, port } = stateAfter(changes);
      if (changes % 3 === 0) await store.rename(firstPeer!.id, name);
      else if (port === null) await forgetIfStored(store, secondPeer!.id);
      else {
        const addresses = [["127.0.0.1", port] as const];
        await store.record({ authority: secondPeer!, receivedName: "two", addresses });
      }
      console.log(changes, dir);
    }
  };
  for (let i = 2; i < Deno.args.length; i += 2) write(Deno.args[i]!, Number(Deno.args[i + 1]));
}
