/** Options that are `undefined`, as in `{ timeout: config.timeout }`, count as omitted. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  accessLog,
  type AccessLogOptions,
  fromFetchHandler,
  type FromFetchHandlerOptions,
  ProxyApp,
  type ProxyOptions,
  toFetchHandler,
  type ToFetchHandlerOptions,
} from "@degu/degu";
import {
  buildClientSslctx,
  Client,
  type ClientOptions,
  type ClientSslconfig,
  type RequestOptions,
  SSLClient,
  type SSLClientOptions,
} from "@degu/degu/client";
import { TempPKI, type TempPKIOptions, TempServer } from "@degu/degu/misc";
import { createDevicePki, type DevicePkiOptions } from "@degu/degu/device";
import { type PoolOptions, ServerPool } from "@degu/degu/pool";
import {
  buildServerSslctx,
  Server,
  type ServerOptions,
  type ServerSslconfig,
  SSLServer,
  type UntilSignalOptions,
} from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";

/** Every option that there is, each of them `undefined`; one that is missing here is an error of types. */
type Undefined<Options> = {
  readonly [Name in keyof Options as undefined extends Options[Name] ? Name : never]-?: undefined;
};

const clientOptions: Undefined<ClientOptions> = {
  host: undefined,
  timeout: undefined,
  bodies: undefined,
  authorization: undefined,
  headers: undefined,
  onConnect: undefined,
  signal: undefined,
};
const serverOptions: Undefined<ServerOptions> = {
  maxConnections: undefined,
  maxRequests: undefined,
  timeout: undefined,
  logger: undefined,
  onExchange: undefined,
};
const clientSslconfig: Undefined<ClientSslconfig> = {
  checkHostname: undefined,
  ca: undefined,
  caFile: undefined,
  caPath: undefined,
  cert: undefined,
  certFile: undefined,
  key: undefined,
  keyFile: undefined,
};

const app = () => [200, "OK", {}, null] as const;
const request = ["GET", "/"] as const;

Deno.test("a client's options may be undefined", () => {
  const plain: ClientOptions = clientOptions;
  for (const address of [["127.0.0.1", 81] as const, "/run/socket"]) {
    const { host, timeout, bodies } = new Client(address, plain);
    const expected = new Client(address);
    assertEquals([host, timeout], [expected.host, expected.timeout]);
    assertEquals(bodies === expected.bodies, true);
  }
  const undefinedOptions: Undefined<SSLClientOptions> = { ...clientOptions, sslHost: undefined };
  const options: SSLClientOptions = undefinedOptions;
  assertEquals(new SSLClient({}, ["127.0.0.1", 444], options).sslHost, "127.0.0.1");
});

Deno.test("the options of a request may be undefined", async () => {
  const undefinedOptions: Undefined<RequestOptions> = { signal: undefined };
  const options: RequestOptions = undefinedOptions;
  await using server = new Server(["127.0.0.1", 0], app);
  const serving = server.serveForever();
  const client = new Client(server.address);
  assertEquals((await client.request(...request, {}, null, options)).status, 200);
  using conn = await client.connect(undefined, options);
  assertEquals((await conn.get("/", {}, options)).status, 200);
  server.close();
  await serving;
});

Deno.test("a server's options may be undefined", async () => {
  const options: ServerOptions = serverOptions;
  await using server = new Server(["127.0.0.1", 0], app, options);
  const serving = server.serveForever();
  const client = new Client(server.address, clientOptions);
  assertEquals((await client.request(...request)).status, 200);
  server.close();
  await serving;

  const untilSignal: Undefined<UntilSignalOptions> = { signals: undefined, deadline: undefined };
  const untilOptions: UntilSignalOptions = untilSignal;
  await server.serveUntilSignal(untilOptions); // it has ended

  const undefinedLog: Undefined<AccessLogOptions> = { user: undefined };
  const logOptions: AccessLogOptions = undefinedLog;
  accessLog(() => {}, logOptions);
});

Deno.test("the options of an sslconfig may be undefined", async () => {
  const forClient: ClientSslconfig = clientSslconfig;
  assertEquals(buildClientSslctx(forClient).checkHostname, true);

  const undefinedPki: Undefined<TempPKIOptions> = { clientPki: undefined, names: undefined };
  const pkiOptions: TempPKIOptions = undefinedPki;
  await using pki = await TempPKI.create(pkiOptions);
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
  const nobody: ServerSslconfig = { ...undefinedServer, certFile, keyFile };
  assertThrows(() => buildServerSslctx(nobody), RangeError, "got neither");
  // What was made may be taken apart and put together.
  const forServer: ServerSslconfig = { ...undefinedServer, certFile, keyFile, caFile };
  assertEquals(buildServerSslctx(forServer).verify, true);
  await using server = new SSLServer(forServer, ["127.0.0.1", 0], app, serverOptions);
  const serving = server.serveForever();
  await server.ready;
  const client = new SSLClient(pki.clientSslconfig, server.address, clientOptions);
  assertEquals((await client.request(...request)).status, 200);
  server.close();
  await serving;
});

Deno.test("the options of createDevicePki may be undefined", async () => {
  const options: Undefined<DevicePkiOptions> = { renew: undefined };
  const plain: DevicePkiOptions = options;
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1", plain); // made, as by default
  assertEquals(await createDevicePki(dir.path, "camera-1", undefined), device);
});

Deno.test("the options of a pool may be undefined", async () => {
  const undefinedOptions: Undefined<PoolOptions> = {
    workers: undefined,
    sslconfig: undefined,
    server: undefined,
    logger: undefined,
    onExchange: undefined,
  };
  const options: PoolOptions = undefinedOptions;
  const module = "data:text/javascript,export const app = () => [200, 'OK', {}, null];";
  const pooled = { module, name: "app", args: undefined };
  // On a path there is one worker, by default.
  await using dir = await tempDir();
  for (const given of [options, { ...options, server: serverOptions }]) {
    await using pool = await ServerPool.start(`${dir.path}/socket`, pooled, given);
    assertEquals((await new Client(pool.address).request(...request)).status, 200);
  }
});

Deno.test("the options of apps, handlers and temporary servers may be undefined", async () => {
  const undefinedProxy: Undefined<ProxyOptions> = { logger: undefined };
  const proxyOptions: ProxyOptions = undefinedProxy;
  new ProxyApp(new Client(["127.0.0.1", 81]), undefined, proxyOptions);

  const undefinedHandler: Undefined<FromFetchHandlerOptions> = {
    origin: undefined,
    chooseCookie: undefined,
    maxUnreadBytes: undefined,
  };
  const handlerOptions: FromFetchHandlerOptions = undefinedHandler;
  type Info = NonNullable<Parameters<ReturnType<typeof toFetchHandler>>[1]>;
  const undefinedInfo: Undefined<Info> = { remoteAddr: undefined };
  const info: Info = undefinedInfo;
  const undefinedOptions: Undefined<ToFetchHandlerOptions> = { logger: undefined };
  const handler = toFetchHandler(
    fromFetchHandler(() => new Response("hello"), handlerOptions),
    undefinedOptions,
  );
  const response = await handler(new Request("http://localhost/"), info);
  assertEquals(await response.text(), "hello");

  const { logger: _, ...crossing } = serverOptions;
  for (const options of [undefined, crossing]) {
    await using server = await TempServer.start({ address: ["127.0.0.1", 0], options }, null, app);
    assertEquals((await new Client(server.address).request(...request)).status, 200);
  }
});
