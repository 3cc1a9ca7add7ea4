// deno run --allow-net --allow-read=camera-device,outbox --allow-write=camera-device,outbox --allow-sys=uid examples/camera.ts

// Sends each recording that appears in "outbox" to the device that runs recorder.ts, and removes it
// when it has arrived. While the recorder is off, recordings stay here; an upload that was cut is
// resumed. A file that the recorder refuses stays here, and the others go on. It is paired once:
//   degu --home camera-device init --name camera
//   degu --home camera-device pair

import { printable, repeat, terminationSignal } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { type TreeEvent, uploadTree } from "@degu/degu/files";

await Deno.mkdir("outbox", { recursive: true });
await using camera = await Device.open(`${Deno.cwd()}/camera-device`, { name: "camera" });

// A recording is complete when nothing has been written to it for 3 seconds. A connection that was
// lost is made up for by `retries`. What is an error nevertheless, also a file that stays, is a line
// on stderr; then the next run follows, a bit later each time.
const client = await camera.client("recorder");
await repeat(async (signal) => {
  await uploadTree(client, "outbox", [], { move: true, settled: 3, retries: 3, signal, onEvent });
}, { seconds: 1, signal: terminationSignal() });

/** Names each file that has arrived, or that can't be sent. */
function onEvent(event: TreeEvent): void {
  if (!("path" in event)) return;
  const name = printable(event.path.join("/"));
  if (event.type === "copied") {
    const { total, resumedFrom } = event;
    console.log(`${name} has arrived: ${total} bytes, of which ${resumedFrom} were there already`);
  } else if (event.type === "failed") {
    console.error(`${name} stays here: ${printable(String(event.error))}`);
  }
}
