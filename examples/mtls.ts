// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp --allow-sys=uid examples/mtls.ts

import { type App, SSLClient, SSLServer } from "@degu/degu";
import { createDevicePki } from "@degu/degu/misc";

// Three devices, each with an authority of its own. In earnest the directory stays, on the device.
const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  const camera = await createDevicePki(directory, "camera");
  const viewer = await createDevicePki(directory, "viewer");
  const stranger = await createDevicePki(directory, "stranger");

  // The camera has been given the viewer's authority, and trusts nobody else.
  const app: App = (_request, session) => {
    const who = session.peerCertificate?.subjectAltNames.join(", ") ?? "nobody";
    return [200, "OK", {}, new TextEncoder().encode(`Here I am, ${who}.`)];
  };
  const { certFile, keyFile } = camera;
  const serverSslconfig = { certFile, keyFile, caFile: viewer.caFile };
  await using server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], app);
  server.serveForever();
  await server.ready;

  // The viewer has been given the camera's authority, and checks that it is the camera who answers.
  for (const { certFile, keyFile } of [viewer, stranger]) {
    const clientSslconfig = { certFile, keyFile, caFile: camera.caFile };
    const client = new SSLClient(clientSslconfig, server.address, { sslHost: "camera" });
    try {
      const response = await client.request("GET", "/");
      console.log(await response.body?.text());
    } catch (error) {
      console.log("Refused:", error instanceof Error ? error.message : error);
    }
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
