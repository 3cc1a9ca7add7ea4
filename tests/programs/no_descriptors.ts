/**
 * Sends requests to a server that has no free descriptor; run with a low limit. The argument is the
 * served directory, which has the file `a`. Prints the statuses before, meanwhile and afterward,
 * and the lines of the log meanwhile, as JSON.
 */

import { type App, ProxyApp } from "@degu/degu";
import type { Connection } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { formatPaths } from "@degu/internal/files/wire/bundle.ts";
import { serve } from "@degu/testing/serving.ts";

const [dir = ""] = Deno.args;
const files = new FilesApp(dir, { list: true, write: true });
const app: App = async (request, session, api) => {
  const area = request.shiftPath();
  if (area === "files") return await files.handle(request, session, api);
  if (area === "proxy") return await proxy.handle(request, session);
  using _file = await Deno.open(`${dir}/a`).catch((cause) => {
    throw new TypeError("the app of a user has failed", { cause });
  });
  return [200, "OK", {}, null];
};
const requests: Record<string, (connection: Connection) => Promise<{ status: number }>> = {
  "a file": (connection) => connection.get("/files/a"),
  "a digest": (connection) => connection.head("/files/a", { "want-repr-digest": "sha-256=10" }),
  "a list": (connection) => connection.get("/files/"),
  "a tree": (connection) => connection.get("/files/?tree"),
  "a new file": (connection) => connection.put("/files/new", {}, "x"),
  "a new directory": (connection) => connection.put("/files/d/", {}, null),
  "a removal": (connection) => connection.delete("/files/old"),
  "the app of a user": (connection) => connection.get("/app"),
  "a proxy": (connection) => connection.get("/proxy/files/a"),
  "a bundle": async (connection) => {
    const response = await connection.post("/files/?bundle=get", {}, formatPaths([["a"]]));
    const text = await response.body!.text();
    return { status: Number(/"status":(\d+)/.exec(text)?.[1]) };
  },
};

await using serving = serve(app);
// The upstream is the server itself.
const proxy = new ProxyApp(serving.makeClient());
async function requestAll(isMeanwhile: boolean): Promise<Record<string, number>> {
  const connections: Connection[] = [];
  for (const _ of Object.keys(requests)) {
    connections.push(await serving.makeClient().connect());
  }
  // Each connection has a slot of the server once it was used.
  for (const connection of connections) await connection.head("/files/none");
  const openFiles: Deno.FsFile[] = [];
  const takeAll = () => {
    try {
      while (isMeanwhile) openFiles.push(Deno.openSync(`${dir}/a`));
    } catch {
      // No descriptor is free.
    }
  };
  const statuses: Record<string, number> = {};
  for (const [index, [name, send]] of Object.entries(requests).entries()) {
    takeAll();
    const connection = connections[index]!;
    statuses[name] = await send(connection).then(({ status }) => status, () => 0);
    connection.close();
    // Take the descriptors of both sides of the closed connection.
    for (let tick = 0; isMeanwhile && tick < 50; tick++) {
      takeAll();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  for (const file of openFiles) file.close();
  return statuses;
}

// Without a descriptor for its signals, Deno ends the process.
Deno.addSignalListener("SIGUSR2", () => {});
const before = await requestAll(false);
const meanwhile = await requestAll(true);
const lines = [...serving.logger.messagesOf("error"), ...serving.logger.messagesOf("warn")];
const afterward = await requestAll(false);
console.log(JSON.stringify({ before, meanwhile, afterward, lines }));
Deno.exit();
