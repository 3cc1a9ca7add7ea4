import { withPath } from "../../internal/caught_errors.ts";
import { PrivateFile, replaceFile } from "./disk.ts";
import { retryReplace } from "../../internal/retry_replace.ts";

async function writePrivateText({ file, path }: PrivateFile, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  try {
    let position = 0;
    while (position < bytes.length) position += await file.write(bytes.subarray(position));
  } catch (error) {
    throw withPath(error, "write", path);
  }
}

export async function writePrivateFile(path: string, text: string): Promise<void> {
  using file = new PrivateFile(path);
  await writePrivateText(file, text);
  await file.sync();
  file.isKept = true;
}

/**
 * @param temporaryPath A free path in the same file system.
 * @returns The open file.
 */
export async function writeAndRename(
  path: string,
  text: string,
  temporaryPath: string,
  prepare: (file: PrivateFile) => Promise<void>,
): Promise<PrivateFile> {
  const file = new PrivateFile(temporaryPath);
  try {
    await writePrivateText(file, text);
    await prepare(file);
    await retryReplace(() => replaceFile(temporaryPath, path));
    file.isKept = true;
    return file;
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/**
 * Replaces a file by {@linkcode writeAndRename}, and syncs its content. Sync the directory if the
 * change must survive a power failure.
 */
export async function replacePrivateFile(
  path: string,
  text: string,
  temporaryPath: string,
): Promise<void> {
  using _file = await writeAndRename(path, text, temporaryPath, (file) => file.sync());
}

export const WRITABLE_BY_OTHERS = 0o022;
export const USABLE_BY_OTHERS = 0o077;

const ROOT_UID = 0;

/**
 * Follows links, and doesn't check the directories above. On Windows, doesn't check anything,
 * because access doesn't depend on modes.
 */
export async function checkPrivate(path: string, forbiddenBits: number): Promise<void> {
  const uid = Deno.uid();
  if (uid === null) return;
  const info = await Deno.stat(path);
  if (info.uid !== ROOT_UID && info.uid !== uid) {
    throw new Deno.errors.PermissionDenied(
      `${path} belongs to another user (uid ${info.uid}), who could change it`,
    );
  }
  // If the system has owners of files, it also has modes.
  const mode = info.mode! & 0o7777;
  if ((mode & forbiddenBits) === 0) return;
  throw new Deno.errors.PermissionDenied(
    `${path} is open to other users (mode ${mode.toString(8)})`,
  );
}
