/** What a TLS socket does with the memory of what arrives. */
import { assert, assertEquals } from "@std/assert";
import { type Address, BodyIter } from "@degu/degu/base";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import type { Request } from "@degu/degu/server";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

const BYTES = 67_108_864;

/** Where a server listens, and the most bytes that may wait for the collector while more than twice as many pass. */
const addresses: readonly (readonly [string, Address, number | null])[] = [
  ["over a socket of node:net", ["127.0.0.1", 0], 12_000_000],
  // The library copies what it sends there, and leaves that to the collector: how much depends on its pace.
  ["over a connection of Deno", ["::1", 0, 0, 1], null],
];

/** A sink that looks at what arrives, and remembers the most memory outside of the heap. */
class Watch {
  most = 0;
  received = 0;
  #next = 0;
  readonly #before = Deno.memoryUsage().external;

  write(bytes: Uint8Array): Promise<void> {
    // Each byte of the pattern is that of its position.
    assertEquals(bytes[0], this.#next);
    this.received += bytes.length;
    this.#next = this.received % 251;
    this.most = Math.max(this.most, Deno.memoryUsage().external - this.#before);
    return Promise.resolve();
  }
}

/** The pattern that {@linkcode Watch} expects. */
function* pattern(): Generator<Uint8Array> {
  for (let sent = 0; sent < BYTES; sent += 1_048_576) {
    const piece = new Uint8Array(1_048_576);
    for (let i = 0; i < piece.length; i++) piece[i] = (sent + i) % 251;
    yield piece;
  }
}

for (const [how, address, mostKept] of addresses) {
  const ignore = address[0] === "::1" && !hasIPv6;
  Deno.test({
    name: `what arrives over TLS is unchanged and does not fill the memory, ${how}`,
    ignore,
    async fn() {
      await using pki = await TempPKI.create();
      const pieces = [...pattern()];
      const up = new Watch();
      const app = async (request: Request) => {
        if (request.body !== null) {
          await request.body.writeTo(up);
          return [204, "No Content", {}, null] as const;
        }
        return [200, "OK", {}, new BodyIter(pieces, BYTES)] as const;
      };
      await using endpoint = await startTls(pki, app, {}, address);
      using conn = await endpoint.client.connect();
      const down = new Watch();
      const response = await conn.get("/");
      await response.body!.writeTo(down);
      await conn.put("/", {}, new BodyIter(pieces, BYTES));
      for (const [name, { most, received }] of Object.entries({ down, up })) {
        assertEquals(received, BYTES);
        assert(mostKept === null || most < mostKept, `${name}: ${most} bytes were kept`);
      }
    },
  });
}
