// deno run --allow-net --allow-read=. --allow-write=backup-device --allow-sys=uid examples/backup.ts

// Backs up the directory that is its argument to the device that runs recorder.ts, a minute after
// each backup the next one. What was deleted here is deleted there. It is paired once:
//   degu --home backup-device init --name backup
//   degu --home backup-device pair

import { isTransient, printable, repeat, terminationSignal } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { StatusError, uploadTree } from "@degu/degu/files";

const [directory, seconds = "60"] = Deno.args;
if (directory === undefined) {
  console.error("Usage: backup.ts DIRECTORY [SECONDS]");
  Deno.exit(2);
}

await using device = await Device.open(`${Deno.cwd()}/backup-device`, { name: "backup" });
// A connection that was lost is made up for by `retries`, also in the middle of a large file; what
// they did not bring to its end, the next backup does.
const client = await device.client("recorder");
await repeat(async (signal) => {
  // Each file that fails by itself is named in the log.
  const options = { delete: true, settled: 10, retries: 3, signal };
  const done = await uploadTree(client, directory, [], options);
  console.log(`copied ${done.files}, deleted ${done.deleted}, failed ${done.failed}`);
  if (done.deletionsSkipped !== null) console.warn(`Not all was deleted: ${done.deletionsSkipped}`);
}, { seconds: Number(seconds), signal: terminationSignal(), onError });

/** Leaves an error that time may heal to the next backup; any other one ends the program. */
function onError(error: unknown, wait: number): void {
  const isFull = error instanceof StatusError && error.status === 507;
  if (!isFull && !isTransient(error)) throw error;
  const what = isFull ? "the disk of the recorder is full" : printable(String(error));
  console.error(`${what}; the next backup begins in ${wait} s`);
}
