/** FilesApp: no leaked file descriptors, and little memory. */
import { assert, assertEquals } from "@std/assert";
import { Range, type ResponseTuple } from "@degu/degu/base";
import type { Client } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import type { App } from "@degu/degu";
import type { ServerOptions } from "@degu/degu/server";
import { runScript } from "@degu/testing/processes.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { LARGE, makeTree, serveLarge } from "@degu/testing/served_directory.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";

const linux = Deno.build.os === "linux";

interface Leaving {
  readonly options?: ServerOptions;
  readonly wrap?: (app: FilesApp) => App;
  leave(peer: RawPeer, client: Client): Promise<void>;
}

const get = "GET /large HTTP/1.1\r\n\r\n";

/** What a peer, or an app around it, may do to a response. */
const leavings: Record<string, Leaving> = {
  "that reads everything": {
    async leave(_peer, client) {
      const { body } = await client.request("GET", "/large");
      assertEquals((await body?.bytes())?.length, LARGE);
    },
  },
  "that reads a small file": {
    async leave(peer) {
      await peer.send("GET /file HTTP/1.1\r\n\r\n");
      await peer.readUntil("public");
    },
  },
  "that asks for the head alone": {
    async leave(peer) {
      await peer.send(get.replace("GET", "HEAD"));
      await peer.readPreamble();
    },
  },
  "that asks for a part": {
    async leave(_peer, client) {
      const { body } = await client.request("GET", "/large", { range: new Range(1000, LARGE) });
      assertEquals((await body?.bytes())?.length, LARGE - 1000);
    },
  },
  "that asks for what is beyond the end": {
    async leave(peer) {
      await peer.send("GET /large HTTP/1.1\r\nrange: bytes=5000000-6000000\r\n\r\n");
      await peer.readToEnd();
    },
  },
  "that has it already": {
    async leave(peer) {
      await peer.send("GET /large HTTP/1.1\r\nif-none-match: *\r\n\r\n");
      await peer.readPreamble();
    },
  },
  "that has another one": {
    async leave(peer) {
      await peer.send('GET /large HTTP/1.1\r\nif-match: "a"\r\n\r\n');
      await peer.readPreamble();
    },
  },
  "that goes away before the response": {
    async leave(peer) {
      await peer.send(get);
    },
  },
  "that goes away within it": {
    async leave(peer) {
      await peer.send(get);
      await peer.readPreamble();
    },
  },
  "that reads nothing": {
    options: { timeout: 0.1 },
    async leave(peer) {
      await peer.send(get.repeat(10));
      await peer.readPreamble();
      // Not a sleep: the server closes when it has waited long enough, and then this fails.
      await peer.sendUntilRefused(new TextEncoder().encode("x"), Infinity);
    },
  },
  "whose response is broken by another app": {
    wrap: (app) => async (request) => {
      const [status, reason, headers, body] = await app.handle(request);
      return [status, reason, { ...headers, "Bad Header": "x" }, body];
    },
    async leave(peer) {
      await peer.send(get);
      await peer.assertClosedSilently();
    },
  },
  "whose response gets a status without a body": {
    wrap: (app) => async (request): Promise<ResponseTuple> => {
      const [, , , body] = await app.handle(request);
      return [204, "No Content", {}, body];
    },
    async leave(peer) {
      await peer.send(get);
      await peer.assertClosedSilently();
    },
  },
};

for (const [what, { options, wrap, leave }] of Object.entries(leavings)) {
  Deno.test({
    name: `no file stays open after a peer ${what}`,
    ignore: !linux,
    async fn() {
      await using large = await serveLarge(options, wrap);
      {
        using peer = await RawPeer.connect(large.serving.address);
        await leave(peer, large.serving.makeClient());
      }
      // The last that a server does for a connection is to log its end.
      await large.serving.server.shutdown();
      assertEquals(await openFilesBelow(large.root), []);
    },
  });
}

Deno.test({
  name: "openFilesBelow finds an open file",
  ignore: !linux,
  async fn() {
    await using tree = await makeTree();
    using _file = await Deno.open(`${tree.root}/file`);
    assertEquals(await openFilesBelow(tree.root), [`${tree.root}/file`]);
  },
});

Deno.test({
  name: "a file is closed when its response is canceled",
  ignore: !linux,
  async fn() {
    await using large = await serveLarge();
    const app = new FilesApp(large.root);
    const [, , , body] = await app.handle(mkreq("GET", "/large"));
    assertEquals(await openFilesBelow(large.root), [`${large.root}/large`]);
    assert(body !== null && !(body instanceof Uint8Array));
    await body.cancel();
    assertEquals(await openFilesBelow(large.root), []);
  },
});

Deno.test({
  name: "a file is closed when its response is garbage-collected",
  ignore: !linux,
  async fn() {
    await using large = await serveLarge();
    const script = `
      import { FilesApp } from "./files.ts";
      import { Request } from "./server.ts";
      const app = new FilesApp(${JSON.stringify(large.root)});
      const countFiles = () => {
        const links = Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => {
          try {
            return Deno.readLinkSync("/proc/self/fd/" + name);
          } catch {
            return "";
          }
        });
        return links.filter((path) => path.startsWith(${JSON.stringify(large.root)} + "/")).length;
      };
      await app.handle(new Request("GET", "/", {}, null, [], ["large"], null));
      console.log(countFiles());
      for (let turn = 0; turn < 100 && countFiles() > 0; turn++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log(countFiles());
    `;
    assertEquals(await runScript(script, ["-A", "--v8-flags=--expose-gc"], {}), "1\n0\n");
  },
});

Deno.test("a large file is streamed with little memory", async () => {
  const size = 256 * 1048576;
  await using large = await serveLarge();
  await Deno.truncate(`${large.root}/large`, size);
  const flags = ["--allow-net=127.0.0.1", "--allow-read"];
  const printed = await runProgram("large_file.ts", { flags, args: [large.root] });
  const { received, most } = JSON.parse(printed);
  assertEquals(received, size);
  assert(most < 100 * 1048576, `resident memory grew by ${most} bytes`);
});
