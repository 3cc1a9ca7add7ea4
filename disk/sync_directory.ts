/**
 * Names that are on the disk.
 *
 * @module
 */

/** Resolves once the names in a directory are on the disk, where the system can open directories. */
export async function syncDirectory(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using directory = await Deno.open(path, { read: true });
  await directory.sync();
}
