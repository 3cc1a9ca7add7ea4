/** Gets files to a small disk, and puts files to one, until they are full, and again once they are larger. */
import { AgentFiles, treeOf } from "../agent_files.ts";

const KIBIBYTE = 1024;

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const mount = (dir: string, ...options: string[]) =>
  run("mount", "-t", "tmpfs", ...options, "tmpfs", dir);

await using files = await AgentFiles.start();
const results = [];
for (const direction of ["get", "put"] as const) {
  const [source, target] = direction === "get"
    ? [files.share, `${files.here}/disk`]
    : [files.here, `${files.inbox}`];
  await Deno.mkdir(target, { recursive: true });
  await Deno.mkdir(`${source}/${direction}`);
  await mount(target, "-o", "size=1m");
  if (direction === "put") await files.serve();
  for (let i = 0; i < 4; i++) {
    await Deno.writeFile(
      `${source}/${direction}/${i}`,
      new Uint8Array(400 * KIBIBYTE).fill(48 + i),
    );
  }
  const args = direction === "get"
    ? ["get", "-r", "camera:get", target]
    : ["put", "-r", `${files.here}/put`, "camera:"];
  const full = await files.run(...args);
  await mount(target, "-o", "remount,size=8m");
  const again = await files.run(...args);
  const moved = Object.values(await treeOf(`${target}/${direction}`)).map((text) => text?.length);
  results.push({ full, again, moved });
}
await files.kill();
for (const dir of [`${files.here}/disk`, files.inbox]) await run("umount", dir);
console.log(JSON.stringify(results));
