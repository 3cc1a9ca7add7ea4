// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp --allow-sys=uid examples/mtls.ts

import { type App, publicKey256, SSLClient, SSLServer } from "@degu/degu";
import { createDevicePki } from "@degu/degu/device";

// Three devices, each with its own authority. On a real device the directory is permanent.
const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  const camera = await createDevicePki(directory, "camera");
  const viewer = await createDevicePki(directory, "viewer");
  const stranger = await createDevicePki(directory, "stranger");

  // The camera has the viewer's authority, and trusts no other. It identifies peers by the keys of their
  // authorities: the name in a certificate proves nothing.
  const viewerKey = publicKey256(await Deno.readTextFile(viewer.caFile));
  const names = new Map([[viewerKey, "viewer"]]);
  const app: App = (_request, { peerCertificate }) => {
    const who = names.get(peerCertificate?.authority?.publicKey256 ?? "") ?? "somebody";
    return [200, "OK", {}, `Here I am, ${who}.`];
  };
  const { certFile, keyFile } = camera;
  const serverSslconfig = { certFile, keyFile, caFile: viewer.caFile };
  await using server = await SSLServer.start(serverSslconfig, ["127.0.0.1", 0], app);

  // The viewer has the camera's authority, and verifies that the camera answers.
  const ask = async ({ certFile, keyFile }: typeof viewer) => {
    const clientSslconfig = { certFile, keyFile, caFile: camera.caFile };
    const client = new SSLClient(clientSslconfig, server.address, { sslHost: "camera" });
    try {
      const response = await client.request("GET", "/");
      console.log(await response.text());
    } catch (error) {
      console.log("Refused:", error instanceof Error ? error.message : error);
    }
  };
  await ask(viewer);
  await ask(stranger);

  // Trust can change while the camera runs: now the stranger is accepted, and the viewer is refused.
  names.delete(viewerKey);
  names.set(publicKey256(await Deno.readTextFile(stranger.caFile)), "new friend");
  server.setSslctx({ certFile, keyFile, caFile: stranger.caFile });
  await ask(viewer);
  await ask(stranger);
} finally {
  await Deno.remove(directory, { recursive: true });
}
