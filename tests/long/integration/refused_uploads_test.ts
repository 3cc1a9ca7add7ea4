/** Uploads that an app refuses without reading them, by clients that other people wrote. */
import { ProxyApp } from "@degu/degu";
import { Client } from "@degu/degu/client";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { runCommand } from "@degu/testing/commands.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

const SOURCES = fromFileUrl(new URL("../../programs/uploads/", import.meta.url));

/** Runs a command with bash, because the permission of the tests doesn't list these programs. */
const THROUGH_BASH = ["bash", "-c", 'exec "$0" "$@"'];
const CURL = 'for url; do head -c 20000000 /dev/zero | curl -sS --cacert "$0" -o /dev/null ' +
  '-w "%{http_code}\\n" -X PUT --data-binary @- -H expect: "$url"; done';

/** The clients, the commands that show whether they are installed, and the commands of an upload. */
const CLIENTS: Record<string, readonly [probe: readonly string[], upload: readonly string[]]> = {
  "curl": [["curl", "--version"], ["bash", "-c", CURL]],
  "http.client": [["python3", "--version"], ["python3", `${SOURCES}upload.py`, "http.client"]],
  "httpx": [["/usr/bin/python3", "-c", "import httpx"], [
    ...["/usr/bin/python3", `${SOURCES}upload.py`, "httpx"],
  ]],
  "Node fetch": [["node", "--version"], ["node", `${SOURCES}upload.mjs`, "fetch"]],
  "node:http": [["node", "--version"], ["node", `${SOURCES}upload.mjs`, "http"]],
  "HttpClient": [["javac", "--version"], ["java", `${SOURCES}Upload.java`, "HttpClient"]],
  "HttpURLConnection": [["javac", "--version"], [
    ...["java", `${SOURCES}Upload.java`, "HttpURLConnection"],
  ]],
};

const refusingApp: App = ({ path }) => [Number(path[0]), "Refused", {}, "refused"];

Deno.test("clients of other programs get the status of a refused upload of 20 MB", async (t) => {
  const pki = await openSharedPki();
  const options = { logger: new RecordingLogger() };
  const tlsConfig = { ...pki.serverSslconfig, allowUnauthenticatedClients: true } as const;
  await using server = await Server.start(["127.0.0.1", 0], refusingApp, options);
  const proxyApp = new ProxyApp(new Client(server.address));
  await using proxy = await Server.start(["127.0.0.1", 0], proxyApp, options);
  const startTls = (app: App) => SSLServer.start(tlsConfig, ["127.0.0.1", 0], app, options);
  await using tlsServer = await startTls(refusingApp);
  await using tlsProxy = await startTls(proxyApp);
  const urls = [
    `http://127.0.0.1:${server.port}/401`,
    `http://127.0.0.1:${proxy.port}/403`,
    `https://127.0.0.1:${tlsServer.port}/413`,
    `https://127.0.0.1:${tlsProxy.port}/507`,
  ];
  await testEachRow(t, Object.entries(CLIENTS), async (label, [probe, upload]) => {
    const { success } = await runCommand([...THROUGH_BASH, ...probe]);
    if (!success) return console.warn(`${label} missing: its test is skipped`);
    // Another authority for this fetch needs the package undici.
    const count = label === "Node fetch" ? 2 : 4;
    const command = [...upload, pki.clientSslconfig.caFile, ...urls.slice(0, count)];
    const { stdout, stderr } = await runCommand([...THROUGH_BASH, ...command]);
    assertEquals(stdout.trim().split("\n"), ["401", "403", "413", "507"].slice(0, count), stderr);
  });
});
