/** The certificates that a peer presented. */
import { assertEquals } from "@std/assert";
import { connect, createServer, type TLSSocket } from "node:tls";
import { type Chain, presentedChain } from "@degu/internal/net/tls/chain.ts";
import { readDer, readDers, textsOf } from "@degu/testing/tls_authorities.ts";
import { type Issued, OpensslPki, unlessMissing } from "@degu/testing/tls_openssl.ts";

const needsOpenssl = await unlessMissing("openssl");

/** Connects as the owner of a certificate; returns what each end sees of the other's chain. */
async function shake(
  server: { cert: string; key: string },
  client: { cert?: string; key?: string },
  ca: string,
): Promise<{ atServer: Chain | null; atClient: Chain | null }> {
  const accepted = Promise.withResolvers<Chain | null>();
  const policy = { requestCert: true, rejectUnauthorized: false };
  const listening = createServer({ ...server, ca, ...policy }, (socket) => {
    accepted.resolve(presentedChain(socket));
    socket.on("error", () => {});
    socket.end();
  });
  listening.listen(0, "127.0.0.1");
  await new Promise((resolve) => listening.once("listening", resolve));
  const { port } = listening.address() as { port: number };
  const socket: TLSSocket = connect({
    ...{ ...client, ca, port, host: "127.0.0.1", rejectUnauthorized: false },
    checkServerIdentity: () => undefined,
  });
  await new Promise((resolve) => socket.once("secureConnect", resolve));
  const atClient = presentedChain(socket);
  const atServer = await accepted.promise;
  const closed = [listening, socket].map((each) => new Promise((end) => each.once("close", end)));
  socket.destroy();
  listening.close();
  await Promise.all(closed);
  return { atServer, atClient };
}

/** In plain arrays, of the type that `assertEquals` compares. */
function plain(chain: Chain | null): Uint8Array[] | undefined {
  return chain?.map((der) => new Uint8Array(der));
}

Deno.test({
  name: "presentedChain() has every certificate that was sent, in order, and the leaf first",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const root = await pki.authority("root");
    const upper = await pki.authority("upper", { issuer: root });
    const lower = await pki.authority("lower", { issuer: upper });
    const stranger = await pki.authority("stranger");
    const server = await textsOf(await pki.server("server", { issuer: root }));
    const ca = await Deno.readTextFile(root.certFile);
    const byRoot = await pki.client("by_root", { issuer: root });
    const byLower = await pki.client("by_lower", { issuer: lower });
    const rows: readonly [string, Issued, readonly Issued[]][] = [
      ["the leaf alone", byRoot, []],
      ["the leaf alone, of an unknown authority", byLower, []],
      ["with the root", byRoot, [root]],
      ["with an unrelated one", byRoot, [stranger]],
      ["with one intermediate", byLower, [lower]],
      ["with two", byLower, [lower, upper]],
      ["with two and the root", byLower, [lower, upper, root]],
      ["in another order", byLower, [upper, root, lower]],
      ["with another between them", byLower, [lower, stranger, upper]],
    ];
    for (const [name, own, between] of rows) {
      await t.step(name, async () => {
        const { atServer } = await shake(server, await textsOf(own, between), ca);
        const sent = await readDers([own, ...between]);
        assertEquals(plain(atServer)?.slice(0, sent.length), sent);
        // The library adds at most the root, which it finds by name.
        for (const added of plain(atServer)!.slice(sent.length)) {
          assertEquals(added, await readDer(root));
        }
      });
    }
    await t.step("none", async () => {
      assertEquals((await shake(server, {}, ca)).atServer, null);
    });
    await t.step("at a client", async () => {
      const own = await pki.server("by_upper", { issuer: upper });
      const { atClient } = await shake(await textsOf(own, [upper]), {}, ca);
      assertEquals(plain(atClient)?.slice(0, 2), await readDers([own, upper]));
    });
  },
});
