/** Everyday actions, each done so many times: `scenarios.ts ACTION TIMES`. */

import { Client, Router, Server } from "../../mod.ts";
import { Device } from "../../device.ts";
import { FilesApp, fileUri, upload } from "../../files.ts";
import { RESERVED } from "../../files/reserved.ts";

const [action = "", count = "1"] = Deno.args;
const times = Number(count);
/** The number of preparations for actions that can't be repeated, whether or not all are used. */
const MOST = 4;
const dir = await Deno.makeTempDir({ prefix: "degu_walks_" });
const text = new TextEncoder().encode("hello");

async function pair(other = "b"): Promise<[Device, Device]> {
  const a = await Device.open(`${dir}/a`, { name: "a" });
  const b = await Device.open(`${dir}/${other}`, { name: other });
  await using invitation = await a.invite({ listen: [["127.0.0.1", 0]], serving: [] });
  await b.join(invitation.line, { serving: [] });
  await invitation.paired;
  return [a, b];
}

const actions: Record<string, () => Promise<void>> = {
  async get() {
    await using server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, text]);
    server.serveForever();
    using conn = await new Client(server.address).connect();
    for (let i = 0; i < times; i++) await (await conn.get("/")).body!.bytes();
  },

  async put() {
    await using server = new Server(["127.0.0.1", 0], async ({ body }) => {
      await body?.text();
      return [200, "OK", {}, null];
    });
    server.serveForever();
    using conn = await new Client(server.address).connect();
    for (let i = 0; i < times; i++) await conn.put("/", {}, text);
  },

  async connect() {
    const [a, b] = await pair();
    await using _both = { [Symbol.asyncDispose]: () => close(a, b) };
    await using server = a.listen(["127.0.0.1", 0], () => [200, "OK", {}, text]);
    await server.ready;
    server.serveForever();
    for (let i = 0; i < times; i++) {
      const client = await b.client("a", { addresses: [server.address] });
      using conn = await client.connect();
      await (await conn.get("/")).body!.bytes();
    }
  },

  async resume() {
    await Deno.mkdir(`${dir}/served`);
    const bytes = 64 * 2 ** 20;
    const app = new FilesApp(`${dir}/served`, { write: true });
    await using server = new Server(["127.0.0.1", 0], app);
    server.serveForever();
    for (let i = 0; i < times; i++) {
      const path = `${dir}/file${i}`;
      await Deno.writeFile(path, crypto.getRandomValues(new Uint8Array(65536)));
      await Deno.truncate(path, bytes);
      // Only an older file is resumed.
      await new Promise((resolve) => setTimeout(resolve, 3100));
      const cut = new AbortController();
      const { signal } = cut;
      const uri = fileUri(`file${i}`);
      const uploading = upload(new Client(server.address), path, uri, { signal }).catch(() => {});
      while (await unfinishedBytes(`${dir}/served`) === 0);
      cut.abort();
      await uploading;
      const { resumedFrom } = await upload(new Client(server.address), path, uri);
      if (resumedFrom === 0 || resumedFrom === bytes) throw new Error(`from ${resumedFrom}`);
    }
  },

  async sync() {
    const { runAgent } = await import("../../agent/program.ts");
    const [a, b] = await pair();
    await Deno.mkdir(`${dir}/share`);
    await Deno.writeFile(`${dir}/share/file`, text);
    await close(b);
    const share = new FilesApp(`${dir}/share`, { list: true });
    await using server = a.listen(["127.0.0.1", 0], new Router(new Map([["share", share]])));
    await server.ready;
    server.serveForever();
    const [, port] = server.address as [string, number];
    const paths = ["a:", `${dir}/copy`];
    // The whole program is compared with no program at all.
    const code = times === 1 ? 0 : await runAgent([
      ...["sync", ...paths, "--home", `${dir}/b`, "--address", `127.0.0.1:${port}`],
    ]);
    if (code !== 0) throw new Error(`exit code ${code}`);
    await close(a);
  },

  async forget() {
    const names = Array.from({ length: MOST }, (_, i) => `peer${i}`);
    const pairs = await Promise.all(names.map((name) => pair(name)));
    await using _all = { [Symbol.asyncDispose]: () => close(...pairs.flat()) };
    const server = pairs[0]![0].listen(["127.0.0.1", 0], () => [200, "OK", {}, text]);
    await server.ready;
    server.serveForever();
    const clients = await Promise.all(pairs.map(([, peer]) => {
      return peer.client("a", { addresses: [server.address] });
    }));
    const connections = await Promise.all(clients.map((client) => client.connect()));
    for (const conn of connections) await (await conn.get("/")).body!.bytes();
    const ended = [...server.sessions].map(({ signal }) => {
      return new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
    // Another process would do this.
    await using other = await Device.open(`${dir}/a`);
    for (let i = 0; i < times; i++) {
      await other.forget(names[i]!);
      await Promise.race(ended.splice(0, 1).concat(ended));
    }
    for (const conn of connections) conn.close();
  },
};

/** Counts the bytes of the uploads that a directory has got in part. */
async function unfinishedBytes(directory: string): Promise<number> {
  const names = await Array.fromAsync(Deno.readDir(`${directory}/${RESERVED}`)).catch(() => []);
  const files = await Promise.all(names.map(({ name }) => {
    return Deno.stat(`${directory}/${RESERVED}/${name}`).catch(() => null);
  }));
  return files.reduce((bytes, file) => bytes + (file?.size ?? 0), 0);
}

async function close(...devices: readonly Device[]): Promise<void> {
  for (const device of devices) await device[Symbol.asyncDispose]();
}

try {
  await actions[action]!();
} finally {
  await Deno.remove(dir, { recursive: true });
}
