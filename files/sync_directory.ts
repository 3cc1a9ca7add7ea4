/**
 * Names that are on the disk.
 *
 * @module
 */

/** What a directory is not synced for: it can't be read, was deleted again, or the file system can't do it. */
const HARMLESS: ReadonlySet<unknown> = new Set(["EACCES", "ENOENT", "EINVAL"]);

/** Resolves once the names in a directory are on the disk, if the system can open directories. */
export async function syncDirectory(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  try {
    using directory = await Deno.open(path, { read: true });
    await directory.sync();
  } catch (error) {
    if (!HARMLESS.has((error as { code?: unknown }).code)) throw error;
  }
}
