/** `serveUntilSignal()` with the server of a device. */
import { setUp } from "@degu/testing/device_serving.ts";
import { testUntilSignal } from "@degu/testing/until_signal.ts";

testUntilSignal("a device's server", "SIGCONT", async ({ app }) => {
  const setup = await setUp(app);
  return {
    server: setup.server,
    client: await setup.viewer.client(setup.camera.id),
    [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose](),
  };
});
