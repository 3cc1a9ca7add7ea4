/** `serveUntilSignal()` with the server of a device. */
import { setUp } from "@degu/testing/device_serving.ts";
import {
  checkFirstSignal,
  checkSecondSignal,
  type Gate,
  ignore,
} from "@degu/testing/until_signal.ts";

const SIGNAL = "SIGCONT";

async function start({ app }: Gate) {
  const setup = await setUp(app);
  return {
    server: setup.server,
    client: await setup.viewer.client(setup.camera.id),
    [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose](),
  };
}

Deno.test(
  "a device's server finishes pending requests at the first signal, and ends",
  { ignore },
  () => checkFirstSignal(SIGNAL, start),
);

Deno.test(
  "a device's server is closed at the second signal",
  { ignore },
  () => checkSecondSignal(SIGNAL, start),
);
