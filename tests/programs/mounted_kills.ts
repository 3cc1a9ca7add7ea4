/**
 * Mounts a disk below a directory, the first argument, and kills servers of the directory as often
 * as the second argument says, while they receive a tree onto the disk.
 */
import { runOrThrow } from "@degu/testing/commands.ts";
import { listNames } from "@degu/testing/directories.ts";
import { assertEquals } from "@std/assert";
import { killServersOf } from "../crash/kills.ts";

const [dir = "", kills = ""] = Deno.args;
const root = `${dir}/root`;
await Deno.mkdir(`${root}/disk`, { recursive: true });
await runOrThrow(["mount", "-t", "tmpfs", "tmpfs", `${root}/disk`]);
await killServersOf(true, Number(kills), { root, path: "disk" });
// The parts were on the mounted disk. A killed server may leave the empty file that shows the mode
// of new files.
const paths = (await listNames(`${root}/.degu-files`).catch(() => []))
  .map((name) => `${root}/.degu-files/${name}`);
assertEquals(paths.filter((path) => Deno.statSync(path).size > 0), []);
await runOrThrow(["umount", "--lazy", `${root}/disk`]);
