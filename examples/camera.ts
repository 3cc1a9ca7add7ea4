// deno run --allow-net --allow-read=camera-device,outbox --allow-write=camera-device,outbox --allow-sys=uid examples/camera.ts

// Moves each new recording in "outbox" to the device that runs recorder.ts. While the recorder is
// offline, the recordings stay in "outbox"; an interrupted upload is resumed. If the recorder
// refuses a file, the file stays in "outbox", and the others are still moved. Pair the two devices
// once:
//   degu --home camera-device init --name camera
//   degu --home camera-device pair

import { repeat, runUntilSignal } from "@degu/degu";
import { printable } from "@degu/degu/base";
import { Device, DeviceError } from "@degu/degu/device";
import { type TreeEvent, uploadTree } from "@degu/degu/files";

await Deno.mkdir("outbox", { recursive: true });
await runUntilSignal(main);

async function main(signal: AbortSignal): Promise<void> {
  await using camera = await Device.open(`${Deno.cwd()}/camera-device`, { name: "camera" });
  const client = await camera.client("recorder").catch((error) => {
    if (!(error instanceof DeviceError)) throw error;
    console.error(error.message); // The recorder isn't paired yet.
    Deno.exitCode = 1;
    return null;
  });
  if (client === null) return;
  // A recording counts as complete if it was not modified for 3 seconds. If the connection is lost,
  // `retries` resumes the upload. Other errors, including refused files, are printed on stderr.
  // After each error, the pause before the next run becomes longer.
  const options = { move: true, settled: 3, retries: 3, signal, onEvent };
  await repeat(() => uploadTree(client, "outbox", [], options), { seconds: 1, signal });
}

/** Prints the name of each file that was moved, or that can't be sent. */
function onEvent(event: TreeEvent): void {
  if (!("path" in event)) return;
  const name = printable(event.path.join("/"));
  if (event.type === "copied") {
    const { total, resumedFrom } = event;
    console.log(`moved ${name}: ${total} bytes, of which the recorder already had ${resumedFrom}`);
  } else if (event.type === "failed") {
    console.error(`${name} stays in outbox: ${printable(String(event.error))}`);
  }
}
