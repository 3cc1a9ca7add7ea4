/** Gets files to a small disk, and puts files to one, until they are full, and again once they are larger. */
import { AgentFiles } from "../agent_files.ts";
import { content } from "../trees.ts";

const KIBIBYTE = 1024;

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const mount = (dir: string, ...options: string[]) =>
  run("mount", "-t", "tmpfs", ...options, "tmpfs", dir);

await using files = await AgentFiles.start();
const results = [];
for (const direction of ["get", "put"]) {
  const isGet = direction === "get";
  const target = isGet ? `${files.here}/disk` : files.inbox;
  const source = `${isGet ? files.share : files.here}/${direction}`;
  await Deno.mkdir(target, { recursive: true });
  await Deno.mkdir(source);
  await mount(target, "-o", "size=1m");
  if (!isGet) await files.serve();
  for (let i = 0; i < 4; i++) {
    await Deno.writeFile(`${source}/${i}`, new Uint8Array(400 * KIBIBYTE).fill(48 + i));
  }
  const args = isGet ? ["get", "-r", "camera:get", target] : ["put", "-r", source, "camera:"];
  const full = await files.run(...args);
  await mount(target, "-o", "remount,size=8m");
  const again = await files.run(...args);
  const moved = Object.values(await content(`${target}/${direction}`)).map((text) => text?.length);
  results.push({ full, again, moved });
}
await files.kill();
for (const dir of [`${files.here}/disk`, files.inbox]) await run("umount", dir);
console.log(JSON.stringify(results));
