/**
 * Disks that change the spelling of names, or fail, mounted for a function or for one command.
 */

import { fileURLToPath } from "node:url";
import { findObstacle, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";

const PROGRAM = fileURLToPath(import.meta.resolve("./odd_disk.py"));

/** Returns the reason why no odd disk can be mounted in a namespace; `null` if one can. */
export async function findOddDiskObstacle(): Promise<string | null> {
  // The device exists on every system, and on some only root may open it.
  const open = "import fusepy, os; os.open('/dev/fuse', os.O_RDWR)";
  const obstacle = await findMountObstacle() ??
    await findObstacle([...THROUGH_MOUNT_NAMESPACE, "/usr/bin/python3", "-c", open]);
  return obstacle && `no FUSE disk can be mounted here (${obstacle.split("\n").at(-1)})`;
}

/**
 * Makes a shell script for a namespace that may mount. The script's argument 0 is a directory; the
 * other arguments are a command, which runs while `disk` in the directory is an odd disk over
 * `backing`.
 *
 * @param behavior The arguments of odd_disk.py behind the paths, for the shell.
 */
export async function makeOddDiskScript(dir: string, behavior: string): Promise<string> {
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
 * Mounts an odd disk over an existing directory, and rejects if that fails.
 *
 * @returns A function that unmounts the disk.
 */
export async function mountOddDisk(
  backing: string,
  mountPoint: string,
  spelling: string,
  faults: string,
): Promise<() => Promise<void>> {
  await Deno.writeTextFile(`${backing}/mounted`, "");
  const command = ["/usr/bin/python3", PROGRAM, backing, mountPoint, spelling, faults];
  const disk = startCommand(command, { stdin: "null", stdout: "null" });
  const output = disk.output();
  let hasEnded = false;
  output.then(() => hasEnded = true);
  while (!await exists(`${mountPoint}/mounted`)) {
    if (hasEnded) throw new Error(new TextDecoder().decode((await output).stderr).trim());
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await Deno.remove(`${backing}/mounted`);
  return async () => {
    await runOrThrow(["umount", "--lazy", mountPoint]);
    if (!hasEnded) disk.kill();
    await output;
  };
}

function exists(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, () => false);
}
