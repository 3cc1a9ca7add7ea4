// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp --allow-sys=uid examples/renewal.ts

import { type App, SSLClient, SSLServer } from "@degu/degu";
import { createDevicePki, type DevicePki } from "@degu/degu/device";

/** A certificate is due for 30 days before it expires: twice a day is often enough. */
const TWICE_A_DAY = 12 * 60 * 60 * 1000;

/**
 * Loads an identity every so many milliseconds, which renews its certificate when that is due, and
 * passes on what it got. Failures are reported, and retried the next time. The timer alone does not
 * keep the program running.
 */
export function renewByTimer(
  load: () => Promise<DevicePki>,
  use: (pki: DevicePki) => void,
  milliseconds: number = TWICE_A_DAY,
): AsyncDisposable {
  let renewal: Promise<void> = Promise.resolve();
  async function renew(): Promise<void> {
    try {
      const pki = await load();
      for (const warning of pki.warnings) console.warn(warning);
      use(pki);
    } catch (error) {
      console.error("The certificate was not renewed:", error);
    }
  }
  const timer = setInterval(() => {
    renewal = renewal.then(renew);
  }, milliseconds);
  timer.unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await renewal;
    },
  };
}

/**
 * A camera and a viewer in one program, instead of on two devices. With the argument `stay` the camera
 * goes on until SIGTERM or SIGINT, as a service does.
 */
async function main(): Promise<void> {
  // On real devices: a permanent directory on each device, which has the other's authority in a file.
  const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
  try {
    const loadCamera = () => createDevicePki(directory, "camera");
    const loadViewer = () => createDevicePki(directory, "viewer");
    const [camera, viewer] = await Promise.all([loadCamera(), loadViewer()]);

    const forServer = ({ certFile, keyFile }: DevicePki) => {
      return { certFile, keyFile, caFile: viewer.caFile };
    };
    const app: App = () => [200, "OK", {}, "Here I am."];
    await using server = new SSLServer(forServer(camera), ["127.0.0.1", 0], app);
    await using _serverRenewal = renewByTimer(loadCamera, (pki) => {
      server.setSslctx(forServer(pki)); // live sessions are not affected
    });

    const serving = server.serveUntilSignal();
    await server.ready;

    const makeClient = ({ certFile, keyFile }: DevicePki) => {
      const sslconfig = { certFile, keyFile, caFile: camera.caFile, checkHostname: false };
      return new SSLClient(sslconfig, server.address);
    };
    let client = makeClient(viewer);
    await using _clientRenewal = renewByTimer(loadViewer, (pki) => {
      client = makeClient(pki); // for new connections
    });

    const response = await client.request("GET", "/");
    console.log(await response.text());
    console.log(`The camera's certificate is valid until ${camera.validTo.toDateString()}.`);

    if (!Deno.args.includes("stay")) await server.shutdown();
    await serving;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) await main();
