/**
 * Serves until a signal, in the way that the argument names. A response is sent when the server
 * refuses connections; to a request of `/never`, not at all.
 */
import {
  Client,
  ProxyApp,
  repeat,
  reply,
  type Request,
  runUntilSignal,
  Server,
  serveUntilSignal,
} from "@degu/degu";
import { TempDevices } from "@degu/degu/device/testing";

const controller = new AbortController();
let port = 0;

async function waitForRefusal(): Promise<void> {
  for (;;) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function app({ path }: Request) {
  console.log("requested");
  await waitForRefusal();
  console.log("stopping");
  if (path[0] === "never") await new Promise(() => {});
  return reply(200, "whole");
}

/** Prints the port of a server, to which the test connects. */
function listen<S extends { readonly address: unknown }>(server: S): S {
  port = (server.address as readonly [string, number])[1];
  console.log(port);
  return server;
}

const start = async () => listen(await Server.start(["127.0.0.1", 0], app));
const abort = () => controller.abort();
const { signal } = controller;

const ways: Record<string, () => Promise<void>> = {
  async "its own signal, aborted first"() {
    Deno.addSignalListener("SIGTERM", abort);
    await (await start()).serveUntilSignal({ signal });
    Deno.removeSignalListener("SIGTERM", abort);
  },
  async "its own signal, aborted last"() {
    const serving = (await start()).serveUntilSignal({ signal });
    Deno.addSignalListener("SIGTERM", abort);
    await serving;
    Deno.removeSignalListener("SIGTERM", abort);
  },
  "the signal of runUntilSignal()": () =>
    runUntilSignal(async (signal) => serveUntilSignal(await start(), { signal })),
  "runUntilSignal() around a server without a signal": () =>
    runUntilSignal(async () => (await start()).serveUntilSignal()),
  "a repeated action beside the server": () =>
    runUntilSignal(async (signal) => {
      const repeating = repeat(() => {}, { seconds: 60, signal });
      await Promise.all([repeating, (await start()).serveUntilSignal({ signal })]);
    }),
  "a ProxyApp": () =>
    runUntilSignal(async (signal) => {
      await using upstream = await Server.start(["127.0.0.1", 0], app);
      await using proxy = new ProxyApp(new Client(upstream.address));
      const server = listen(await Server.start(["127.0.0.1", 0], proxy));
      await server.serveUntilSignal({ signal });
    }),
  "the server of a device": () =>
    runUntilSignal(async (signal) => {
      await using temp = await TempDevices.create("camera", "viewer");
      const { camera, viewer } = temp.devices;
      const server = listen(await camera.serve(["127.0.0.1", 0], app));
      const client = await viewer.client("camera", { addresses: [server.address] });
      const serving = server.serveUntilSignal({ signal });
      console.log("status", (await client.get("/")).status);
      await serving;
    }),
};

await ways[Deno.args[0]!]!();
console.log("ended");
