// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp --allow-sys=uid examples/mtls.ts

import { type App, publicKey256, SSLClient, SSLServer } from "@degu/degu";
import { createDevicePki } from "@degu/degu/device";

// Three devices, each with its own authority. On a real device, the directory is permanent.
const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  const camera = await createDevicePki(directory, "camera");
  const viewer = await createDevicePki(directory, "viewer");
  const stranger = await createDevicePki(directory, "stranger");

  // The camera trusts only the viewer's authority. It identifies peers by the keys of their
  // authorities, because every authority can issue a certificate with any name.
  const viewerKey = publicKey256(await Deno.readTextFile(viewer.caFile));
  const names = new Map([[viewerKey, "viewer"]]);
  const app: App = (_request, { peerCertificate }) => {
    const name = names.get(peerCertificate?.authority?.publicKey256 ?? "") ?? "unknown peer";
    return [200, "OK", {}, `Hello, ${name}.`];
  };
  const { certFile, keyFile } = camera;
  const serverSslconfig = { certFile, keyFile, caFile: viewer.caFile };
  await using server = await SSLServer.start(serverSslconfig, ["127.0.0.1", 0], app);

  // The viewer trusts the camera's authority, and so verifies that the server is the camera.
  const sendRequest = async ({ certFile, keyFile }: typeof viewer) => {
    const clientSslconfig = { certFile, keyFile, caFile: camera.caFile };
    const client = new SSLClient(clientSslconfig, server.address, { sslHost: "camera" });
    try {
      const response = await client.request("GET", "/");
      console.log(await response.text());
    } catch (error) {
      console.log("Refused:", error instanceof Error ? error.message : error);
    }
  };
  await sendRequest(viewer);
  await sendRequest(stranger);

  // Trust can change while the camera runs: now accept the stranger, and refuse the viewer.
  names.delete(viewerKey);
  names.set(publicKey256(await Deno.readTextFile(stranger.caFile)), "new friend");
  server.setSslctx({ certFile, keyFile, caFile: stranger.caFile });
  await sendRequest(viewer);
  await sendRequest(stranger);
} finally {
  await Deno.remove(directory, { recursive: true });
}
