/** What a TLS socket tells of its peer's certificates. */
import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import * as tls from "node:tls";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { type Chain, presentedChain } from "@degu/internal/net/tls/chain.ts";
import { skipDescriptions } from "@degu/internal/net/tls/descriptions.ts";
import { createAuthority } from "@degu/internal/pki/certificates.ts";
import { derOf } from "@degu/testing/certificates.ts";
import { readIdentity, serveRaw } from "@degu/testing/raw_tls.ts";
import { within } from "@degu/testing/raw_peer.ts";

/** A server that sends a stranger's certificate after its own. */
async function serveChain() {
  const pki = await TempPKI.create();
  const own = await Deno.readTextFile(pki.serverSslconfig.certFile);
  const stranger = (await createAuthority({ commonName: "a stranger" }, 10)).certificate;
  const server = await serveRaw(pki, () => {}, { cert: own + stranger });
  const [host, port] = server.address as [string, number];
  const identity = await readIdentity(pki);
  return {
    sent: [own, stranger].map(derOf),
    /** Resolves to a socket whose handshake is done, and to what its check of the name was given. */
    async connect(prepare: (socket: tls.TLSSocket) => void) {
      let checked: unknown;
      const checkServerIdentity = (_host: string, shown: unknown) => void (checked = shown);
      const socket = tls.connect({ host, port, ...identity, checkServerIdentity });
      prepare(socket);
      await within(once(socket, "secureConnect"), "the handshake");
      return { socket, checked, [Symbol.dispose]: () => void socket.destroy() };
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await pki[Symbol.asyncDispose]();
    },
  };
}

function copy(chain: Chain | null): Uint8Array[] {
  return chain!.map((der) => Uint8Array.from(der));
}

Deno.test("a socket shows the certificates that the peer sent, in their order, and describes none", async () => {
  await using server = await serveChain();
  using described = await server.connect(() => {});
  using bare = await server.connect(skipDescriptions);
  const chain = copy(presentedChain(bare.socket));
  assertEquals(chain.slice(0, 2), server.sent);
  assertEquals(copy(presentedChain(described.socket)), chain);
  assert(bare.socket.authorized);
  let shown: tls.DetailedPeerCertificate | undefined = bare.socket.getPeerCertificate(true);
  assertEquals(shown, bare.checked, "its check of the name is given the same");
  for (const der of chain) {
    assertEquals(Object.keys(shown!), ["raw", "issuerCertificate"]);
    assertEquals(Uint8Array.from(shown!.raw), der);
    shown = shown!.issuerCertificate;
  }
  assertEquals(shown, undefined);
});

Deno.test("a socket whose connection is gone shows nothing, and is left as it is", async () => {
  await using server = await serveChain();
  using before = await server.connect(skipDescriptions);
  before.socket.destroy();
  await within(once(before.socket, "close"), "the socket closes");
  assertEquals(before.socket.getPeerCertificate(true) as unknown, {});
  using after = await server.connect(() => {});
  after.socket.destroy();
  skipDescriptions(after.socket);
  assert(!Object.hasOwn(after.socket, "getPeerCertificate"));
});
