/**
 * Gets files to a small disk, puts files to one, and downloads a file to one, until it is full;
 * then repeats each command with a larger disk.
 */
import { Client } from "@degu/degu/client";
import { download, type TransferError } from "@degu/files";
import { Server } from "@degu/degu/server";
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { findPart, readTree } from "@degu/testing/directories.ts";
import { ServedVersion } from "@degu/testing/served_version.ts";

const KIBIBYTE = 1024;

const isVisible = (path: string) => !path.includes(".degu") && !path.endsWith("/");

const mount = (dir: string, ...options: string[]) =>
  runOrThrow(["mount", "-t", "tmpfs", ...options, "tmpfs", dir]);

await using files = await AgentFiles.start();
const results = [];
for (const direction of ["get", "put"]) {
  const isGet = direction === "get";
  const target = isGet ? `${files.local}/disk` : files.inbox;
  const source = `${isGet ? files.share : files.local}/${direction}`;
  await Deno.mkdir(target, { recursive: true });
  await Deno.mkdir(source);
  await mount(target, "-o", "size=1m");
  if (!isGet) await files.serve();
  for (let i = 0; i < 4; i++) {
    await Deno.writeFile(`${source}/${i}`, new Uint8Array(400 * KIBIBYTE).fill(48 + i));
  }
  const args = isGet ? ["get", "-r", "camera:get", target] : ["put", "-r", source, "camera:"];
  const fullResult = await files.run(...args);
  const fitting = Object.keys(await readTree(`${target}/${direction}`)).filter(isVisible).length;
  await Deno.remove(`${target}/${direction}`, { recursive: true });
  // Four files by name, of which two fit.
  const makeNames = (names: readonly string[]) =>
    names.map((name) => isGet ? `camera:get/${name}` : `${source}/${name}`);
  const fourNames = makeNames(["0", "1", "2", "3"]);
  const fourResult = await files.run(direction, ...fourNames, isGet ? `${target}/` : "camera:");
  const ofFour = Object.keys(await readTree(target)).filter(isVisible);
  for (const name of ofFour) await Deno.remove(`${target}/${name}`);
  // Two files by name: only the second one fits.
  await Deno.writeFile(`${source}/large`, new Uint8Array(2000 * KIBIBYTE));
  const twoFiles = makeNames(["large", "0"]);
  const into = isGet ? `${target}/` : "camera:";
  const twoFilesResult = await files.run(direction, ...twoFiles, into);
  const ofBoth = Object.keys(await readTree(target)).filter(isVisible);
  await mount(target, "-o", "remount,size=8m");
  await Deno.remove(`${source}/large`);
  const secondResult = await files.run(...args);
  const copiedSizes = Object.values(await readTree(`${target}/${direction}`)).map((text) =>
    text?.length
  );
  results.push({
    full: fullResult,
    fitting,
    four: fourResult,
    ofFour,
    both: twoFilesResult,
    ofBoth,
    again: secondResult,
    moved: copiedSizes,
  });
}
await files.kill();

const disk = `${files.share}/disk`;
await Deno.mkdir(disk);
await mount(disk, "-o", "size=1m");
const served = new ServedVersion(new Uint8Array(3000 * KIBIBYTE).fill(1));
const server = new Server(["127.0.0.1", 0], served.app);
const serving = server.serveForever();
const client = new Client(server.address);
const file = `${disk}/copy`;
await Deno.writeTextFile(file, "old");
const failure = await download(client, "/f", file).catch((error: TransferError) => error);
const { name, code, message } = failure as TransferError;
const content = await Deno.readTextFile(file);
const partPath = await findPart(disk);
const partSize = partPath && (await Deno.stat(partPath)).size;
await mount(disk, "-o", "remount,size=8m");
const { resumedFrom, sha256 } = await download(client, "/f", file);
const names = Array.from(Deno.readDirSync(disk), (entry) => entry.name);
const isRight = sha256 === served.computeSha256();
const downloadResult = {
  name,
  code,
  isNamed: message.startsWith(`${file}: there is `) && message.includes(" on this device"),
  found: content,
};
server.close();
await serving;
for (const dir of [`${files.local}/disk`, files.inbox, disk]) {
  await runOrThrow(["umount", "--lazy", dir]);
}
console.log(
  JSON.stringify([...results, { ...downloadResult, part: partSize, resumedFrom, isRight, names }]),
);
