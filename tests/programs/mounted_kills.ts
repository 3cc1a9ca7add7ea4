/**
 * Mounts a disk below a directory, the first argument, and kills servers of the directory as often
 * as the second argument says, while they receive a tree onto the disk.
 */
import { runOrThrow } from "@degu/testing/commands.ts";
import { assertEquals } from "@std/assert";
import { killServersOf } from "../crash/kills.ts";

const [dir = "", kills = ""] = Deno.args;
const root = `${dir}/root`;
await Deno.mkdir(`${root}/disk`, { recursive: true });
await runOrThrow(["mount", "-t", "tmpfs", "tmpfs", `${root}/disk`]);
await killServersOf(true, Number(kills), { root, path: "disk/target" });
// All unfinished files were on the mounted disk.
assertEquals([...Deno.readDirSync(root)].map(({ name }) => name), ["disk"]);
const names = [...Deno.readDirSync(`${root}/disk`)].map(({ name }) => name).toSorted();
assertEquals(names, [".degu-files", "target"]);
await runOrThrow(["umount", "--lazy", `${root}/disk`]);
