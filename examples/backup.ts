// deno run --allow-net --allow-read=. --allow-write=backup-device --allow-sys=uid examples/backup.ts

// Backs up a directory to the device that runs recorder.ts, at once and then a minute after each
// backup. Files that were deleted in the directory are also deleted in the backup. Pair the two
// devices once:
//   degu --home backup-device init --name backup
//   degu --home backup-device pair

import { isTransient, repeat, runUntilSignal } from "@degu/degu";
import { printable } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { TransferError, uploadTree } from "@degu/degu/files";

await runUntilSignal(main);

async function main(signal: AbortSignal): Promise<void> {
  const [directory, seconds = "60"] = Deno.args;
  if (directory === undefined) {
    console.error("Usage: backup.ts DIRECTORY [SECONDS]");
    Deno.exitCode = 2;
    return;
  }
  await using device = await Device.open(`${Deno.cwd()}/backup-device`, { name: "backup" });
  // If the connection is lost, `retries` resumes the transfer, also in the middle of a large file.
  // If all retries fail, the next backup continues.
  const client = await device.client("recorder");
  const backUp = async () => {
    // If single files fail, the others are copied, and the backup fails at the end. Files that are
    // still being written, and links, don't fail: the backup is then not complete.
    const options = { delete: true, settled: 10, retries: 3, signal };
    const result = await uploadTree(client, directory, [], options);
    const { complete, files, unchanged, deleted, pending, skipped } = result;
    const state = complete ? "complete" : `not complete: pending ${pending}, skipped ${skipped}`;
    console.log(`${state}; copied ${files}, unchanged ${unchanged}, deleted ${deleted}`);
  };
  await repeat(backUp, { seconds: Number(seconds), signal, onError });
}

/** Prints an error after which the next backup may succeed; throws any other error. */
function onError(error: unknown, waitSeconds: number): void {
  const code = error instanceof TransferError ? error.code : null;
  if (code !== "INCOMPLETE" && code !== "DISK_FULL" && !isTransient(error)) throw error;
  console.error(`${printable(String(error))}; the next backup starts in ${waitSeconds} s`);
}
