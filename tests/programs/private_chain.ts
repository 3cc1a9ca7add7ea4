/**
 * Connects without the private parts of the runtime, if `public_calls.ts` is loaded before, and
 * prints a JSON array: the subject of the authority that each end sees, or its refusal.
 */

import { SSLClient, TlsError } from "@degu/degu/client";
import { SSLServer } from "@degu/degu/server";
import { makeAuthority, makeLeaf, type TestAuthority } from "@degu/testing/authorities.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const root = makeAuthority({ name: "root" });
const intermediate = makeAuthority({ name: "intermediate", issuer: root });
const directLeaf = [makeLeaf(root)];
const leafOfIntermediate = [makeLeaf(intermediate), intermediate];

function makeConfig(chain: readonly TestAuthority[]) {
  const cert = chain.map(({ pem }) => pem).join("");
  return { cert, key: chain[0]!.keyPem, ca: root.pem };
}

async function connect(
  serverChain: readonly TestAuthority[],
  clientChain: readonly TestAuthority[],
): Promise<unknown> {
  const logger = new RecordingLogger();
  await using server = await SSLServer.start(
    makeConfig(serverChain),
    ["127.0.0.1", 0],
    (_request, { peerCertificate }) => [200, "OK", {}, `${peerCertificate?.authority?.subject}`],
    { logger },
  );
  const client = new SSLClient(
    { ...makeConfig(clientChain), checkHostname: false },
    server.address,
  );
  try {
    using connection = await client.connect();
    const authority = connection.sock.peerCertificate?.authority;
    return [`${authority?.subject}`, await (await connection.get("/")).text()];
  } catch (error) {
    // A client that was refused sees only the close: the server's log has the reason.
    return error instanceof TlsError && error.code === "UNTRUSTED"
      ? error.message
      : (await logger.waitFor("info", "UNTRUSTED")).join();
  }
}

console.log(JSON.stringify([
  await connect(directLeaf, directLeaf),
  await connect(leafOfIntermediate, directLeaf),
  await connect(directLeaf, leafOfIntermediate),
]));
