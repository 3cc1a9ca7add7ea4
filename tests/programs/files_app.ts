/**
 * Asks a FilesApp of a directory for each of some paths once it is told to, so many times, and on until it has been served and
 * refused; prints how often each answer came.
 */
import { BodyError } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { Request } from "@degu/degu/server";

const [dir = "", times = "", ...paths] = Deno.args;
const app = new FilesApp(dir);

async function ask(path: string): Promise<string> {
  const request = new Request("GET", path, {}, null, [], path.slice(1).split("/"), null);
  try {
    const [status, , , body] = await app.handle(request);
    return `${status} ${body instanceof Uint8Array ? new TextDecoder().decode(body) : "no bytes"}`;
  } catch (error) {
    if (error instanceof BodyError) return "cut";
    throw error;
  }
}

console.log("ready");
for (const path of paths) {
  await Deno.stdin.read(new Uint8Array(1));
  const answers: Record<string, number> = {};
  const isSeen = (status: string) =>
    Object.keys(answers).some((answer) => answer.startsWith(status));
  for (let i = 0; i < Number(times) || !isSeen("200") || !isSeen("404"); i++) {
    const answer = await ask(path);
    answers[answer] = (answers[answer] ?? 0) + 1;
  }
  console.log(JSON.stringify(answers));
}
