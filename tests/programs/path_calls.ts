/**
 * Serves a directory and uses it. Each step begins with lstat() of a missing path with the name of
 * the step, so that a trace of this program shows the system calls of each step.
 */
import { Client, Server } from "@degu/degu";
import { downloadTree, FilesApp, uploadTree } from "@degu/degu/files";

// Time slices don't end early on a busy machine, so the number of calls is always the same.
performance.now = () => 0;
const [dir = "", count = "", levels = ""] = Deno.args;
const DEEP = "one/two/three";

for (const directory of [`served/${DEEP}`, "served/many/below", "local/many/below"]) {
  await Deno.mkdir(`${dir}/${directory}`, { recursive: true });
}
for (const directory of ["served", `served/${DEEP}`]) {
  for (const name of ["read", "replaced", "removed"]) {
    await Deno.writeTextFile(`${dir}/${directory}/${name}`, "content");
  }
}
for (const directory of ["served", "local"]) {
  for (let i = 0; i < Number(count); i++) {
    await Deno.writeTextFile(`${dir}/${directory}/many/below/${i}`, `${i}`);
  }
}

for (let level = 1, directory = `${dir}/local/deep`; level <= Number(levels); level++) {
  await Deno.mkdir(directory += "/d", { recursive: true });
  await Deno.writeTextFile(`${directory}/f`, `${level}`);
}

await new Deno.Command("mkfifo", { args: [`${dir}/served/pipe`] }).output();

const app = new FilesApp(`${dir}/served`, { list: true, write: true });
await using server = new Server(["127.0.0.1", 0], app);
server.serveForever();
const client = new Client(server.address);
using conn = await client.connect();
const body = new TextEncoder().encode("other content");
const paths = new TextEncoder().encode('["pipe"]\n');
const sendGet = async (uri: string) => (await conn.get(uri)).body?.bytes();

const STEPS: Record<string, () => Promise<unknown>> = {
  "makes the directory of unfinished files": () => conn.put("/a", {}, body),
  "GET at the top": () => sendGet("/read"),
  "GET below three directories": () => sendGet(`/${DEEP}/read`),
  "PUT below three directories": () => conn.put(`/${DEEP}/replaced`, {}, body),
  "PUT of a new file below three directories": () => conn.put(`/${DEEP}/new`, {}, body),
  "PUT below three new directories": () => conn.put("/first/second/third/new", {}, body),
  "DELETE below three directories": () => conn.delete(`/${DEEP}/removed`),
  "a bundle with a pipe": async () =>
    await (await conn.post("/?bundle=get", {}, paths)).body?.bytes(),
  "downloadTree": () => downloadTree(client, "/many/", `${dir}/downloaded`),
  "uploadTree": () => uploadTree(client, `${dir}/local/many`, "/uploaded/"),
  "uploadTree, deep": () => uploadTree(client, `${dir}/local/deep`, "/deep/"),
  "downloadTree, deep": () => downloadTree(client, "/deep/", `${dir}/downloaded/deep`),
};
for (const [name, step] of Object.entries({ ...STEPS, end: () => Promise.resolve() })) {
  await Deno.lstat(`${dir}/step ${name}`).catch(() => {});
  await step();
}
