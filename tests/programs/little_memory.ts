/**
 * Receives as many bytes as a peer may send, with a heap that can't hold them all (flag
 * `--v8-flags=--max-old-space-size=64`). The argument names the data of the peer.
 */

import { Client, Server } from "@degu/degu";
import { downloadTree, FilesApp, listTree } from "@degu/degu/files";

const encoder = new TextEncoder();
const COMMON = { size: 1, modified: "2026-01-02T03:04:05.678Z" };
const dir = await Deno.makeTempDir();
try {
  console.log(await meet());
} finally {
  await Deno.remove(dir, { recursive: true });
}

async function meet(): Promise<string | number> {
  switch (Deno.args[0]) {
    case "paths in chunks of one byte": {
      const head =
        "POST /?bundle=get HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
      return await answerTo(head, "1\r\n[\r\n".repeat(10_000), 80);
    }
    case "names for messages": {
      const element = (i: number) => {
        return { path: [`${i}`.padEnd(32_000, "x")], kind: "other", reason: "name", ...COMMON };
      };
      using liar = serveTree([], element, 2500);
      const report = await downloadTree(liar.client, "/", dir, { dryRun: true });
      return report.failed;
    }
    case "long paths": {
      const directories = new Array(15).fill("d".repeat(250));
      const element = (i: number) => ({ path: [...directories, `${i}`], kind: "file", ...COMMON });
      using liar = serveTree(directories, element, 22_000);
      let count = 0;
      for await (const _ of listTree(liar.client, "/")) count++;
      return count;
    }
  }
  throw new RangeError(Deno.args[0]);
}

/** Returns the status of a `FilesApp` for a request with many equal pieces. */
async function answerTo(head: string, piece: string, count: number): Promise<string> {
  await using server = await Server.start(["127.0.0.1", 0], new FilesApp(dir));
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: server.port! });
  const write = writerTo(connection);
  await write(head);
  for (let i = 0; i < count; i++) await write(piece);
  await write("0\r\n\r\n");
  return (await new Response(connection.readable).text()).split("\r\n")[0]!;
}

/** Responds to one request with the list of a tree: nested directories, and then elements. */
function serveTree(directories: string[], element: (i: number) => object, count: number) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    using connection = await listener.accept();
    await connection.read(new Uint8Array(65536));
    const write = writerTo(connection);
    const head =
      "content-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked";
    await write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n`);
    const writeChunk = (text: string) => write(`${text.length.toString(16)}\r\n${text}\r\n`);
    await writeChunk("[\n");
    for (let depth = 1; depth <= directories.length; depth++) {
      const directory = { path: directories.slice(0, depth), kind: "directory", ...COMMON };
      await writeChunk(`${JSON.stringify(directory)},\n`);
    }
    for (let i = 0; i < count; i++) await writeChunk(`${JSON.stringify(element(i))},\n`);
    await writeChunk('{"end":true}\n]\n');
    await write("0\r\n\r\n");
  })();
  const client = new Client(["127.0.0.1", listener.addr.port]);
  return { client, [Symbol.dispose]: () => listener.close() };
}

function writerTo(connection: Deno.Conn): (text: string) => Promise<void> {
  const writer = connection.writable.getWriter();
  return (text) => writer.write(encoder.encode(text));
}
