/** What both ends check of a peer's certificate, whatever the TLS library has verified. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { once } from "node:events";
import { TlsError } from "@degu/degu/base";
import { type Certificate, parseCertificate } from "@degu/internal/net/tls/certificate.ts";
import { checkCertificate, presentedChain, skipDescriptions } from "@degu/internal/net/tls/peer.ts";
import { createAuthority, createLeaf } from "@degu/internal/identity/certificates.ts";
import { derOf } from "@degu/testing/certificates.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { readIdentity, serveRaw } from "@degu/testing/raw_tls.ts";
import { sharedPki } from "@degu/testing/tls_endpoints.ts";
import * as tls from "node:tls";

const authority = await createAuthority({ commonName: "authority" }, 10);

Deno.test("a certificate is checked for its role, its times, its version and its key", async () => {
  const issue = async (...usages: ("serverAuth" | "clientAuth")[]) => {
    const profile = { subject: { commonName: "peer" }, usages, alternativeNames: [], days: 1 };
    return parseCertificate(derOf((await createLeaf(authority, profile)).certificate));
  };
  const [server, client] = [await issue("serverAuth"), await issue("clientAuth")];
  const both = await issue("serverAuth", "clientAuth");
  const root = parseCertificate(derOf(authority.certificate));
  const [from, to] = [client.validFrom.getTime(), client.validTo.getTime()];
  const weak = { ...client, publicKey: client.publicKey.slice(0, -1) };
  const rows: [Certificate, "client" | "server", code: string | null, time?: number][] = [
    [server, "server", null],
    [both, "server", null],
    [both, "client", null],
    [client, "server", "WRONG_PURPOSE"],
    [server, "client", "WRONG_PURPOSE"],
    [root, "client", "WRONG_PURPOSE"],
    [root, "server", "WRONG_PURPOSE"],
    [client, "client", "NOT_YET_VALID", from - 1],
    [client, "client", null, from],
    [client, "client", null, to],
    [client, "client", "EXPIRED", to + 1000],
    [{ ...client, purposes: null }, "server", null],
    [{ ...client, purposes: [] }, "client", "WRONG_PURPOSE"],
    // anyExtendedKeyUsage is not enough for a leaf.
    [{ ...client, purposes: ["2.5.29.37.0"] }, "client", "WRONG_PURPOSE"],
    [{ ...client, maySign: false }, "client", "WRONG_PURPOSE"],
    [{ ...client, version: 1 }, "client", "UNTRUSTED"],
    [{ ...client, version: 2 }, "client", "UNTRUSTED"],
    [{ ...client, version: 4 }, "client", "UNTRUSTED"],
    [weak, "client", "WEAK"],
  ];
  for (const [index, [certificate, whose, code, time]] of rows.entries()) {
    using _time = time === undefined ? null : new FakeTime(time);
    const check = () => checkCertificate(whose, certificate);
    if (code === null) {
      check();
      continue;
    }
    const error = assertThrows(check, TlsError, `the ${whose}'s certificate`);
    assertEquals(error.code, code, `row ${index}`);
  }
});

Deno.test("a socket shows the certificates that the peer sent, in their order, and describes none", async () => {
  const pki = await sharedPki();
  const own = await Deno.readTextFile(pki.serverSslconfig.certFile!);
  const stranger = (await createAuthority({ commonName: "a stranger" }, 10)).certificate;
  await using server = await serveRaw(pki, () => {}, { cert: own + stranger });
  const [host, port] = server.address as [string, number];
  const identity = await readIdentity(pki);
  const connect = async (prepare: (socket: tls.TLSSocket) => void) => {
    let checked: unknown;
    const checkServerIdentity = (_host: string, shown: unknown) => void (checked = shown);
    const socket = tls.connect({ host, port, ...identity, checkServerIdentity });
    prepare(socket);
    await within(once(socket, "secureConnect"), "the handshake");
    return { socket, checked, [Symbol.dispose]: () => void socket.destroy() };
  };
  using described = await connect(() => {});
  using bare = await connect(skipDescriptions);
  const chain = presentedChain(bare.socket).map((der) => Uint8Array.from(der));
  assertEquals(chain.slice(0, 2), [own, stranger].map(derOf));
  assert(bare.socket.authorized);
  assertEquals([bare.socket.getPeerCertificate(true) as unknown, bare.checked], [{}, {}]);
  // As a socket has it that doesn't tell what was sent.
  const { socket } = described;
  const foreign = { getPeerCertificate: () => socket.getPeerCertificate(true) } as tls.TLSSocket;
  assertEquals(presentedChain(foreign).map((der) => Uint8Array.from(der)), chain);
  skipDescriptions(foreign);
  assert(foreign.getPeerCertificate().raw !== undefined, "it is left as it is");
});
