import { isSparse } from "./holes.ts";
import { TemporaryFile } from "./temporary.ts";
import { POOLED_BYTES, releaseBuffer, takeBuffer } from "./file_pieces.ts";

/**
 * Copies a file to a new file, and keeps its holes, which `Deno.copyFile` fills on file systems
 * that can't share blocks. The caller sets the permission bits and syncs the copy.
 */
export async function copyFile(source: string, target: string): Promise<void> {
  if (!isSparse(await Deno.stat(source))) return await Deno.copyFile(source, target);
  using file = await Deno.open(source);
  using copy = TemporaryFile.create(target, { mode: 0o600 });
  copy.isSourceSparse = true;
  const buffer = takeBuffer(POOLED_BYTES);
  try {
    for (let count; (count = await file.read(buffer)) !== null;) {
      await copy.write(buffer.subarray(0, count));
    }
    copy.isKept = true;
  } finally {
    await copy.waitUntilIdle();
    releaseBuffer(buffer);
  }
}
