/** Moves a file, as its arguments say: prints a line when it begins, and then what that has done. */
import { Client } from "@degu/degu/client";
import { download, upload } from "@degu/degu/files";

const [direction, port, file = "", uri = ""] = Deno.args;
const client = new Client(["127.0.0.1", Number(port)], { timeout: 10 });
console.log("ready");
const result = direction === "upload"
  ? await upload(client, file, uri)
  : await download(client, uri, file);
console.log(JSON.stringify(result));
