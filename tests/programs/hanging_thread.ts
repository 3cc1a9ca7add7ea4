/**
 * Serves a disk and a directory, each by a `FilesApp` in a worker. While the disk hangs in each kind
 * of request, measures how long the server and the other directory take to answer. Prints the
 * statuses and the longest times in milliseconds, as JSON. The argument is the directory of the disk.
 */
import { reply, routes, WorkerApp } from "@degu/degu";
import { serve } from "@degu/testing/serving.ts";

const [dir = ""] = Deno.args;
const faults = `${dir}/faults`;
await Deno.mkdir(`${dir}/disk/hung`);
await Deno.writeTextFile(`${dir}/disk/hung/file`, "text");
await Deno.mkdir(`${dir}/other`);
await Deno.writeTextFile(`${dir}/other/file`, "text");
const startFiles = (path: string) => {
  const module = import.meta.resolve("@degu/files");
  const args = [path, { list: true, write: true, reuse: true }];
  return WorkerApp.start({ module, name: "FilesApp", args });
};
await using disk = await startFiles(`${dir}/disk`);
await using other = await startFiles(`${dir}/other`);
const app = routes({ "GET /ping": () => reply(204), "/disk/": disk, "/other/": other });
await using serving = serve(app);
const send = async (method: "GET" | "PUT" | "POST", uri: string, body: string | null = null) => {
  const response = await serving.makeClient().request(method, uri, {}, body);
  await response.discard();
  return response.status;
};

async function measure(uri: string): Promise<number> {
  const start = performance.now();
  await send("GET", uri);
  return performance.now() - start;
}

const kinds = [
  ["GET", "/disk/hung/file", null],
  ["GET", "/disk/hung/?tree", null],
  ["POST", "/disk/hung/?bundle=get", '["file"]\n'],
  ["PUT", "/disk/hung/file", "text"],
] as const;

/** Lets the disk hang in a request until another one gets 503, or for at least six seconds. */
async function hang([method, uri, body]: typeof kinds[number]) {
  // The app has just looked up the directory, so it now calls the disk synchronously.
  await send("GET", "/disk/hung/file");
  await Deno.writeTextFile(faults, "hang-lstat 0 - ^/hung\n");
  const hung = send(method, uri, body);
  let [ping, get] = [0, 0];
  let isUnavailable = false;
  const waiting: Promise<number>[] = [];
  // Requests wait until the disk has been silent for three seconds.
  for (let round = 0; !isUnavailable && round < 12; round++) {
    const status = send("GET", "/disk/hung/file");
    waiting.push(status);
    status.then((status) => isUnavailable ||= status === 503);
    const end = performance.now() + 500;
    while (performance.now() < end) {
      ping = Math.max(ping, await measure("/ping"));
      get = Math.max(get, await measure("/other/file"));
    }
  }
  await Deno.writeTextFile(faults, "");
  const statuses = [await hung, ...new Set(await Promise.all(waiting))];
  return {
    kind: `${method} ${uri}`,
    ...{ ping: Math.ceil(ping), other: Math.ceil(get), statuses },
  };
}

const results = [];
for (const kind of kinds) {
  let result = await hang(kind);
  // On a busy machine, the look may be too old: the app calls the disk asynchronously.
  for (let again = 0; again < 5 && !result.statuses.includes(503); again++) {
    result = await hang(kind);
  }
  results.push(result);
}
console.log(JSON.stringify(results));
