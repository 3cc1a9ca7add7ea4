// deno run --allow-net --allow-read=camera-device,outbox --allow-write=camera-device,outbox --allow-sys=uid examples/camera.ts

// Sends each recording that appears in "outbox" to the device that runs recorder.ts, and removes it
// when it has arrived. While the recorder is off, recordings stay here; an upload that was cut is
// resumed. A file that the recorder refuses stays here, and the others go on. It is paired once:
//   degu --home camera-device join

import { repeat, terminationSignal } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { TransferError, upload } from "@degu/degu/files";

await Deno.mkdir("outbox", { recursive: true });
await using camera = await Device.open(`${Deno.cwd()}/camera-device`, { name: "camera" });
// Each error is a line on stderr; then the next run follows, a bit later each time.
const client = await camera.client("recorder");
await repeat(async (signal) => {
  let left = 0;
  for await (const { name, isFile } of Deno.readDir("outbox")) {
    if (!isFile) continue;
    try {
      await send(`outbox/${name}`, name, signal);
    } catch (error) {
      if (!isOfOneFile(error)) throw error;
      console.error(`${name} stays here: ${error.message}`);
      left++;
    }
  }
  if (left > 0) throw new Error(`files that can't be sent: ${left}`);
}, { seconds: 1, signal: terminationSignal() });

/** Sends a recording, unless it is too new, and removes it. */
async function send(file: string, name: string, signal: AbortSignal): Promise<void> {
  // A recording is complete when nothing has been written to it for 3 seconds. Renaming it counts,
  // too: an upload that begins less than 2 seconds after that could not be resumed.
  const { ctime } = await Deno.stat(file);
  if (Math.abs(Date.now() - Number(ctime)) < 3000) return;
  const { total, resumedFrom } = await upload(client, file, [name], { signal });
  console.log(`${name} has arrived: ${total} bytes, of which ${resumedFrom} were there already`);
  // If it has grown meanwhile, it stays, and is sent again.
  if ((await Deno.stat(file)).size === total) await Deno.remove(file);
}

/** Tells whether other files can be sent in spite of an error: a bad file must not keep them here. */
function isOfOneFile(error: unknown): error is Error {
  const { NotFound, PermissionDenied } = Deno.errors;
  return [TransferError, NotFound, PermissionDenied].some((each) => error instanceof each);
}
