/** Options that are `undefined`, as in `{ timeout: config.timeout }`, count as omitted. */
import { assertEquals, assertThrows } from "@std/assert";
import { accessLog, fromFetchHandler, ProxyApp, type ProxyOptions } from "@degu/degu";
import {
  buildClientSslctx,
  Client,
  type ClientOptions,
  type ClientSslconfig,
  ConnectionPool,
  type ConnectionPoolOptions,
  type RequestOptions,
  SSLClient,
  type SSLClientOptions,
} from "@degu/degu/client";
import { callApp, mkreq, TempPKI, type TempPKIOptions, TempServer } from "@degu/degu/misc";
import { createDevicePki } from "@degu/device";
import {
  buildServerSslctx,
  Server,
  type ServerOptions,
  type ServerSslconfig,
  SSLServer,
  type SSLServerOptions,
  standardLogger,
} from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { callWith } from "@degu/testing/expectations.ts";

/** All options, each `undefined`. */
type Undefined<Options> = {
  readonly [Name in keyof Options as undefined extends Options[Name] ? Name : never]-?: undefined;
};

/** Fails to compile if an option is missing, or can't be `undefined`. */
const unset = <Options>(options: Undefined<Options> & Options) => options;

/** The options of the first overload. */
type ConnectOptions = Client["connect"] extends
  { (options?: infer Options): unknown; (...rest: never[]): unknown } ? NonNullable<Options>
  : never;

const clientOptions = unset<ClientOptions>({
  host: undefined,
  timeout: undefined,
  bodies: undefined,
  authorization: undefined,
  headers: undefined,
  onConnect: undefined,
  signal: undefined,
  unframedNull: undefined,
  dial: undefined,
  scheme: undefined,
});
const serverOptions = unset<ServerOptions>({
  maxConnections: undefined,
  maxRequests: undefined,
  timeout: undefined,
  logger: undefined,
  onExchange: undefined,
  unframedNull: undefined,
  hosts: undefined,
});
const clientSslconfig = unset<ClientSslconfig>({
  checkHostname: undefined,
  ca: undefined,
  caFile: undefined,
  caPath: undefined,
  cert: undefined,
  certFile: undefined,
  key: undefined,
  keyFile: undefined,
});

const app = () => [200, "OK", {}, null] as const;
const request = ["GET", "/"] as const;

Deno.test("a client's options may be undefined", () => {
  for (const address of [["127.0.0.1", 81] as const, "/run/socket"]) {
    const { host, timeout, bodies } = new Client(address, clientOptions);
    const expected = new Client(address);
    assertEquals([host, timeout], [expected.host, expected.timeout]);
    assertEquals(bodies === expected.bodies, true);
  }
  const options = unset<SSLClientOptions>({
    ...clientOptions,
    sslHost: undefined,
    protocol: undefined,
  });
  assertEquals(new SSLClient({}, ["127.0.0.1", 444], options).sslHost, "127.0.0.1");
});

Deno.test("the options of a request may be undefined", async () => {
  const options = unset<RequestOptions>({ signal: undefined, duplex: undefined });
  await using server = new Server(["127.0.0.1", 0], app);
  server.serveForever();
  const client = new Client(server.address);
  assertEquals((await client.request(...request, {}, null, options)).status, 200);
  const connecting = unset<ConnectOptions>({ signal: undefined, bodies: undefined });
  using conn = await client.connect(connecting);
  assertEquals((await conn.get("/", {}, options)).status, 200);
  const poolOptions = unset<ConnectionPoolOptions>({
    maxConnections: undefined,
    idleTimeout: undefined,
    repeat: undefined,
  });
  await using pool = new ConnectionPool(client, poolOptions);
  assertEquals((await pool.request("GET", "/", {}, null, options)).status, 200);
});

Deno.test("a server's options may be undefined", async () => {
  await using server = new Server(["127.0.0.1", 0], app, serverOptions);
  server.serveForever();
  const client = new Client(server.address, clientOptions);
  assertEquals((await client.request(...request)).status, 200);
  await server.shutdown();
  await server.serveUntilSignal(
    unset<NonNullable<Parameters<Server["serveUntilSignal"]>[0]>>({
      deadline: undefined,
      signal: undefined,
    }),
  );
  accessLog(unset<Parameters<typeof accessLog>[0]>({ print: () => {}, user: undefined }));
  standardLogger(
    unset<NonNullable<Parameters<typeof standardLogger>[0]>>({
      print: undefined,
      debug: undefined,
    }),
  ).debug("");
});

Deno.test("the options of an sslconfig may be undefined", async () => {
  assertEquals(buildClientSslctx(clientSslconfig).checkHostname, true);
  await using pki = await TempPKI.create(
    unset<TempPKIOptions>({ clientPki: undefined, names: undefined }),
  );
  const { certFile, keyFile, caFile } = pki.serverSslconfig;
  const undefinedServer: Undefined<ServerSslconfig> = {
    cert: undefined,
    certFile: undefined,
    key: undefined,
    keyFile: undefined,
    ca: undefined,
    caFile: undefined,
    caPath: undefined,
    allowUnauthenticatedClients: undefined,
  };
  const withoutTrust = { ...undefinedServer, certFile, keyFile };
  assertThrows(() => callWith(buildServerSslctx, withoutTrust), TypeError, "got neither");
  // A configuration can be copied and extended.
  const forServer: ServerSslconfig = { ...undefinedServer, certFile, keyFile, caFile };
  assertEquals(buildServerSslctx(forServer).verify, true);
  const options = unset<SSLServerOptions>({ ...serverOptions, protocol: undefined });
  await using _server = await SSLServer.start(forServer, ["127.0.0.1", 0], app, options);
  await using server = new SSLServer(forServer, ["127.0.0.1", 0], app, serverOptions);
  server.serveForever();
  await server.ready;
  const client = new SSLClient(pki.clientSslconfig, server.address, clientOptions);
  assertEquals((await client.request(...request)).status, 200);
});

Deno.test("the options of createDevicePki may be undefined", async () => {
  const options = unset<NonNullable<Parameters<typeof createDevicePki>[2]>>({ create: undefined });
  await using dir = await createTempDir();
  const device = await createDevicePki(dir.path, "camera-1", options); // created, which is the default
  assertEquals(await createDevicePki(dir.path, "camera-1", undefined), device);
});

Deno.test("the options of apps, handlers and temporary servers may be undefined", async () => {
  const proxyOptions = unset<ProxyOptions>({
    headers: undefined,
    logger: undefined,
    signal: undefined,
  });
  new ProxyApp(new Client(["127.0.0.1", 81]), proxyOptions);

  const handlerOptions = unset<NonNullable<Parameters<typeof fromFetchHandler>[1]>>({
    origin: undefined,
  });
  const handler = fromFetchHandler(() => new Response("hello"), handlerOptions);
  const answered = await callApp(handler, mkreq("GET", "/"));
  assertEquals(await answered.text(), "hello");

  for (const options of [undefined, serverOptions]) {
    await using server = await TempServer.start({ address: ["127.0.0.1", 0], options }, null, app);
    assertEquals((await new Client(server.address).request(...request)).status, 200);
  }
});
