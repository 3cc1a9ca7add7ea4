/**
 * Serves a mounted directory while it is unmounted and mounted again; prints the statuses as JSON.
 */

import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { runOrThrow } from "@degu/testing/commands.ts";

const [served = "", disk = ""] = Deno.args;
const app = new FilesApp(served, { list: true, write: true });

async function statuses(): Promise<number[]> {
  const allStatuses: number[] = [];
  for (const [method, uri] of [["GET", "/file"], ["GET", "/below"], ["GET", "/"]] as const) {
    const [status, , , body] = await app.handle(mkreq(method, uri));
    if (typeof body === "object" && body !== null && "writeTo" in body) {
      await body.writeTo(new WritableStream());
    }
    allStatuses.push(status);
  }
  return allStatuses;
}

const mounted = await statuses();
await runOrThrow(["umount", "--lazy", served]);
const unmounted = await statuses();
await runOrThrow(["mount", "--bind", disk, served]);
console.log(JSON.stringify([mounted, unmounted, await statuses()]));
