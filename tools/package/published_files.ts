/** What `deno publish` would upload. */

import { PROJECT_ROOT } from "../standard_library.ts";

/**
 * Lists the files of the package, as `deno publish --dry-run` does.
 *
 * @returns Their paths, relative to the project.
 * @throws {Error} if `deno publish` fails, warns of anything, or lists nothing.
 */
export async function publishedFiles(): Promise<string[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty"],
    cwd: PROJECT_ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  const output = decoder.decode(stdout) + decoder.decode(stderr);
  return readOutput(output, success, PROJECT_ROOT);
}

/**
 * Reads the output of `deno publish --dry-run`.
 *
 * @throws {Error} if it failed, warned of anything, or listed nothing.
 */
export function readOutput(output: string, success: boolean, root: URL): string[] {
  if (!success) throw new Error(`deno publish failed:\n${output}`);
  if (/^warning\b/mi.test(output)) throw new Error(`deno publish warns:\n${output}`);
  const urls = [...output.matchAll(/^ *(file:\S+) \([\d.]+ ?[KM]?i?B\)$/gm)].map(([, url]) => url!);
  const strange = urls.filter((url) => !url.startsWith(root.href));
  if (strange.length > 0) throw new Error(`deno publish lists files from elsewhere: ${strange}`);
  if (urls.length === 0) throw new Error(`deno publish lists no files:\n${output}`);
  return urls.map((url) => decodeURIComponent(url.slice(root.href.length)));
}
