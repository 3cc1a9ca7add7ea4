/** Asks a FilesApp of a directory for a path, many times; prints how often each answer came. */
import { FilesApp } from "../../../files.ts";
import { Request } from "../../../server.ts";

const [dir = "", path = "", times = ""] = Deno.args;
const app = new FilesApp(dir);
const answers: Record<string, number> = {};
for (let i = 0; i < Number(times); i++) {
  const request = new Request("GET", path, {}, null, [], path.slice(1).split("/"), null);
  const [status, , , body] = await app.handle(request);
  const text = body instanceof Uint8Array ? new TextDecoder().decode(body) : "no bytes";
  const answer = `${status} ${text}`;
  answers[answer] = (answers[answer] ?? 0) + 1;
}
console.log(JSON.stringify(answers));
