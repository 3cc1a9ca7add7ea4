/**
 * Disks of odd_disk.py, which spell names their own way or fail: for a while, or for one command.
 */

import { fileURLToPath } from "node:url";
import { mustRun } from "./commands.ts";

const PROGRAM = fileURLToPath(import.meta.resolve("./odd_disk.py"));

/**
 * A script for a shell in a namespace that may mount. The script runs a command, its arguments
 * after the first, while `disk` in a directory, its argument 0, is such a disk over `backing`.
 *
 * @param behavior The arguments of odd_disk.py behind the paths, for the shell.
 */
export async function scriptOnOddDisk(dir: string, behavior: string): Promise<string> {
  for (const name of ["backing", "disk"]) {
    await Deno.mkdir(`${dir}/${name}`, { recursive: true });
  }
  await Deno.writeTextFile(`${dir}/backing/mounted`, "");
  return `/usr/bin/python3 "${PROGRAM}" "$0/backing" "$0/disk" ${behavior} & disk=$!; ` +
    'until [ -e "$0/disk/mounted" ]; do kill -0 $disk 2>/dev/null || exit 1; sleep 0.02; done; ' +
    // A file that has just been closed keeps the disk busy for a moment.
    '"$@"; code=$?; umount --lazy "$0/disk"; kill $disk; wait $disk; exit $code';
}

/**
 * Mounts such a disk over an existing directory; rejects if that is impossible.
 *
 * @returns A function that unmounts it.
 */
export async function mountOddDisk(
  backing: string,
  at: string,
  spelling: string,
  faults: string,
): Promise<() => Promise<void>> {
  await Deno.writeTextFile(`${backing}/mounted`, "");
  const disk = new Deno.Command("/usr/bin/python3", {
    args: [PROGRAM, backing, at, spelling, faults],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const output = disk.output();
  let hasEnded = false;
  output.then(() => hasEnded = true);
  while (!await isThere(`${at}/mounted`)) {
    if (hasEnded) throw new Error(new TextDecoder().decode((await output).stderr).trim());
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await Deno.remove(`${backing}/mounted`);
  return async () => {
    await mustRun(["umount", "--lazy", at]);
    if (!hasEnded) disk.kill();
    await output;
  };
}

function isThere(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, () => false);
}
