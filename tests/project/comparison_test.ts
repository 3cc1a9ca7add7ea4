/** The comparisons of README.md with `node:https` and `Deno.createHttpClient`, in the same Deno. */
import { reply, SSLClient } from "@degu/degu";
import { TempPKI } from "@degu/degu/misc";
import { makeDenoCommand, runCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Agent, createServer, request as sendRequest } from "node:https";
import type { AddressInfo } from "node:net";

const readFiles = async ({ serverSslconfig: server, clientSslconfig: client }: TempPKI) => ({
  server: {
    cert: await Deno.readTextFile(server.certFile),
    key: await Deno.readTextFile(server.keyFile),
    ca: await Deno.readTextFile(server.caFile!),
  },
  client: {
    cert: await Deno.readTextFile(client.certFile!),
    key: await Deno.readTextFile(client.keyFile!),
    ca: await Deno.readTextFile(client.caFile!),
  },
});

Deno.test("a client trusts only the authorities that it names; Deno.createHttpClient adds them to those of the process", async () => {
  await using pki = await TempPKI.create();
  await using otherPki = await TempPKI.create();
  const { anonymousServerSslconfig: serverSslconfig, anonymousClientSslconfig } = pki;
  const otherCa = otherPki.anonymousClientSslconfig.caFile;
  const sslconfigs = { serverSslconfig, clientSslconfig: anonymousClientSslconfig };
  await using endpoint = await startTls(sslconfigs, () => reply(200, "hello"));
  const { port } = endpoint.server;
  const client = new SSLClient({ caFile: otherCa, checkHostname: false }, ["127.0.0.1", port!]);
  await assertRejects(() => client.get("/"), Error, "certificate was refused");
  await using dir = await createTempDir();
  const path = `${dir.path}/fetch.ts`;
  await Deno.writeTextFile(
    path,
    `const caCerts = [await Deno.readTextFile(${JSON.stringify(otherCa)})];
     const response = await fetch("https://localhost:${port}/", {
       client: Deno.createHttpClient({ caCerts }),
     });
     console.log(await response.text());`,
  );
  const command = makeDenoCommand(["--allow-net", "--allow-read"], path);
  const env = { DENO_CERT: anonymousClientSslconfig.caFile };
  const { stdout, stderr } = await runCommand(command, { env });
  assertEquals(stdout, "hello\n", stderr);
});

Deno.test("a session ends when its client isn't trusted any more; node:https serves the connection on", async () => {
  await using pki = await TempPKI.create();
  await using otherPki = await TempPKI.create();
  const [files, otherFiles] = [await readFiles(pki), await readFiles(otherPki)];

  await using endpoint = await startTls(pki, () => reply(200, "hello"));
  using conn = await endpoint.client.connect();
  assertEquals(await (await conn.get("/")).text(), "hello");
  endpoint.server.setSslctx(otherPki.serverSslconfig);
  await assertRejects(() => conn.get("/"));

  const options = { ...files.server, requestCert: true, rejectUnauthorized: true };
  const server = createServer(options, (_request, response) => response.end("hello"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const get = () =>
    new Promise<[body: string, isReused: boolean]>((resolve, reject) => {
      const target = { host: "127.0.0.1", port, agent, ...files.client };
      const request = sendRequest({ ...target, checkServerIdentity: () => undefined });
      request.on("error", reject).on("response", (response) => {
        let body = "";
        response.on("data", (piece) => body += piece);
        response.on("end", () => resolve([body, request.reusedSocket]));
      }).end();
    });
  try {
    assertEquals(await get(), ["hello", false]);
    server.setSecureContext({ ...files.server, ca: otherFiles.server.ca });
    assertEquals(await get(), ["hello", true]);
  } finally {
    agent.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

Deno.test("each wait has a limit; node:https doesn't limit the wait for a client that reads no response", () => {
  const server = createServer({}, () => {});
  assertEquals([server.timeout, server.requestTimeout], [0, 300_000]);
  assert(!server.listening);
});
