/**
 * Serves a directory with earlier versions until it is killed, and prints its address. The clock is
 * ahead by the milliseconds in a file, which is read at each look at the clock.
 *
 * Arguments: the directory, and the file.
 */
import { Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";

const [dir = "", clockFile = ""] = Deno.args;
const { now } = Date;
Date.now = () => now() + Number(Deno.readTextFileSync(clockFile));
const app = new FilesApp(dir, { write: true, keep: 30_000, list: true, reuse: true });
const server = await Server.start(["127.0.0.1", 0], app);
console.log(JSON.stringify(server.address));
await server.serveForever();
