/** Downloads a file to a small disk of its own, which is full, and again after the disk was enlarged. */
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";
import { download, type TransferError } from "@degu/degu/files";
import { ServedVersion } from "../served_version.ts";

const [dir = ""] = Deno.args;
const KIBIBYTE = 1024;

async function mount(...options: string[]): Promise<void> {
  const args = ["-t", "tmpfs", ...options, "tmpfs", dir];
  const { success, stderr } = await new Deno.Command("mount", { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

await mount("-o", "size=1m");
const served = new ServedVersion(new Uint8Array(3000 * KIBIBYTE).fill(1));
const server = new Server(["127.0.0.1", 0], served.app);
const serving = server.serveForever();
const client = new Client(server.address);
const file = `${dir}/copy`;
await Deno.writeTextFile(file, "old");
const failure = await download(client, "/f", file).catch((error: TransferError) => error);
const { name, code, message } = failure as TransferError;
const found = await Deno.readTextFile(file);
const part = (await Deno.stat(`${dir}/.copy.degu-part`)).size;
await mount("-o", "remount,size=8m");
const { resumedFrom, sha256 } = await download(client, "/f", file);
const names = Array.from(Deno.readDirSync(dir), (entry) => entry.name);
const isRight = sha256 === served.actual();
console.log(JSON.stringify({ name, code, message, found, part, resumedFrom, isRight, names }));
server.close();
await serving;
