// deno run --allow-net --allow-read=. --allow-write=backup-device --allow-sys=uid examples/backup.ts

// Backs up the directory that is its argument to the device that runs recorder.ts, a minute after
// each backup the next one. What was deleted here is deleted there. It is paired once:
//   degu --home backup-device init --name backup
//   degu --home backup-device pair

import { isTransient, printable, repeat, terminationSignal } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { TransferError, uploadTree } from "@degu/degu/files";

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
  // Each file that fails by itself is named in the log, and fails the backup at its end.
  const options = { delete: true, settled: 10, retries: 3, signal };
  const { files, unchanged, deleted } = await uploadTree(client, directory, [], options);
  console.log(`complete: copied ${files}, unchanged ${unchanged}, deleted ${deleted}`);
}, { seconds: Number(seconds), signal: terminationSignal(), onError });

/** Leaves what was not copied to the next backup; an error that ends each backup is thrown. */
function onError(error: unknown, wait: number): void {
  const code = error instanceof TransferError ? error.code : null;
  const isFull = code === "DISK_FULL";
  if (!isFull && code !== "INCOMPLETE" && !isTransient(error)) throw error;
  const what = isFull ? "the disk of the recorder is full" : printable(String(error));
  console.error(`${what}; the next backup begins in ${wait} s`);
}
