/**
 * Programs that people write who know `fetch`, Hono, Express, `node:http` or Go: wrong ones, each
 * with what was meant, and right ones that a type that is too narrow would refuse.
 */

/** The beginning of each program; one that runs uses nothing that is only declared here. */
export const BEGINNING = `
import {
  accessLog, type Address, AllowedMethods, api, type Api, type App, type AppObject, bodies, Body, BodyIter,
  type BodyOut, buildUri, type Chunk, type ChunkedBody, ChunkedBodyIter, ChunkedEncoderStream, Client,
  Connection, ConnectionPool, type Connector, createFetch, fromFetchHandler, type HeaderDict, json,
  expectOk, Latest, type Method, ProxyApp, repeat, reply, type Requester, retry, Router, routes, Server,
  type Session, SSLClient, SSLServer, terminationSignal, toFetchHandler, Validator, wrapApp,
} from "@degu/degu";
import type * as degu from "@degu/degu";
import { Device, type DeviceError, type InviteOptions, type PairingError, perPeer } from "@degu/degu/device";
import { download, downloadTree, FilesApp, listTree, upload, uploadTree } from "@degu/degu/files";
import { callApp, mkreq, TempDevices, TempPKI, TempServer } from "@degu/degu/misc";
import { tracedApp, tracedClient } from "@degu/degu/otel";
import { ServerPool } from "@degu/degu/pool";

const app: App = () => json({});
await using server = await Server.start(["127.0.0.1", 0], app);
const client = new Client(server.address);
declare const address: Address, bytes: Uint8Array, conn: Connection, device: Device;
declare const request: degu.Request, response: degu.Response, session: Session;
declare const signal: AbortSignal;
`;

/** A mistake, what was meant, and the error with which the program ends if the mistake compiles. */
export type WrongProgram = readonly [
  name: string,
  mistake: string,
  meant: string,
  error?: readonly [name: string, message: string],
];

export const WRONG: readonly WrongProgram[] = [
  [
    "a header that may be missing",
    `response.headers["x-none"].toString();`,
    `response.headers["x-none"]?.toString();`,
  ],
  [
    "headers as fetch has them",
    `response.headers.get("content-type");`,
    `response.headers["content-type"];`,
  ],
  [
    "a received header that is set",
    `request.headers["x-new"] = "a";`,
    `({ ...request.headers, "x-new": "a" }) satisfies HeaderDict;`,
  ],
  [
    "several values in a list, as node:http has them",
    `new Server(address, () => [200, "OK", { "set-cookie": ["a=1", "b=2"] }, null]);`,
    `new Server(address, () => [200, "OK", { "set-cookie": "a=1" }, null]);`,
  ],
  [
    "the name of a header with capitals",
    `await client.request("PUT", "/", { "Content-Type": "text/plain" }, "a");`,
    `await client.request("PUT", "/", { "content-type": "text/plain" }, "a");`,
    ["RangeError", '"Content-Type"'],
  ],
  [
    "a length as text",
    `await client.request("PUT", "/", { "content-length": "1" }, "a");`,
    `await client.request("PUT", "/", { "content-length": 1 }, "a");`,
    ["TypeError", '"content-length"'],
  ],
  [
    "a missing await",
    `client.request("GET", "/").status;`,
    `(await client.request("GET", "/")).status;`,
  ],
  [
    "a method in small letters",
    `client.request("get", "/");`,
    `client.request("GET", "/");`,
  ],
  [
    "what fetch takes in the place of headers and body",
    `client.request("POST", "/", { headers: { a: "b" }, body: "c" });`,
    `client.request("POST", "/", { a: "b" }, "c");`,
  ],
  [
    "options in the place of headers",
    `conn.get("/", { signal });`,
    `conn.get("/", {}, { signal });`,
  ],
  [
    "an object as body",
    `client.request("POST", "/", {}, { a: 1 });`,
    `client.request("POST", "/", {}, JSON.stringify({ a: 1 }));`,
  ],
  [
    "a parameter that is a number",
    `buildUri([], { limit: 5 });`,
    `buildUri([], { limit: "5" });`,
  ],
  [
    "a client in the place of a connection",
    `using connection = new Client(address);`,
    `using connection = await new Client(address).connect();`,
  ],
  [
    "two requests at once over a connection",
    `using connection = await client.connect();
await Promise.all([connection.get("/a"), connection.get("/b")]);`,
    `await using pool = new ConnectionPool(client);
await Promise.all([pool.request("GET", "/a"), pool.request("GET", "/b")]);`,
    ["DeguError", "another request is in flight"],
  ],
  [
    "a response that nobody reads before the next request",
    `using connection = await client.connect();
await connection.get("/a");
await connection.get("/b");`,
    `using connection = await client.connect();
await (await connection.get("/a")).discard();
await connection.get("/b");`,
    ["BodyError", "the body of the previous response has not been read"],
  ],
  [
    "a response that is read twice",
    `const answer = await client.request("GET", "/");
await answer.json();
await answer.json();`,
    `const answer = await client.request("GET", "/");
const value = await answer.json();`,
    ["SyntaxError", "JSON"],
  ],
  [
    "a body that may be missing",
    `await request.body.text();`,
    `await request.body?.text();`,
  ],
  [
    "JSON whose type nobody checks",
    `(await response.json()).name;`,
    `((await response.json()) as { name: string }).name;`,
  ],
  [
    "a limit as text",
    `await response.text({ maxBytes: "1 MB" });`,
    `await response.text({ maxBytes: 1_000_000 });`,
  ],
  [
    "an address as node:http has it",
    `new Client({ host: "127.0.0.1", port: 80 });`,
    `new Client(["127.0.0.1", 80]);`,
  ],
  [
    "a port as text",
    `new Server(["127.0.0.1", "80"], app);`,
    `new Server(["127.0.0.1", 80], app);`,
  ],
  [
    "a URL as address",
    `new Client("http://127.0.0.1:80");`,
    `new Client(["127.0.0.1", 80]);`,
    ["RangeError", "path"],
  ],
  [
    "a misspelled option",
    `new Client(address, { timeOut: 5 });`,
    `new Client(address, { timeout: 5 });`,
  ],
  [
    "a server that is not awaited",
    `await using other = Server.start(address, app);`,
    `await using other = await Server.start(address, app);`,
  ],
  [
    "the Response of the platform as answer",
    `new Server(address, () => new Response("hello"));`,
    `new Server(address, fromFetchHandler(() => new Response("hello")));`,
  ],
  [
    "an app that returns nothing",
    `new Server(address, (request) => {
  console.log(request.uri);
});`,
    `new Server(address, (request) => {
  console.log(request.uri);
  return reply(200);
});`,
  ],
  [
    "an answer in the wrong order",
    `new Server(address, () => [200, {}, "OK", null]);`,
    `new Server(address, () => [200, "OK", {}, null]);`,
  ],
  [
    "a stream without its length as body",
    `reply(200, new Blob(["hello"]).stream());`,
    `reply(200, new Body(new Blob(["hello"]).stream(), 5));`,
  ],
  [
    "text in the place of bytes",
    `reply(200, new BodyIter(["hello"], 5));`,
    `reply(200, new BodyIter([new TextEncoder().encode("hello")], 5));`,
  ],
  [
    "the options of Response.json in the place of a status",
    `json({ a: 1 }, { status: 201 });`,
    `json({ a: 1 }, 201);`,
  ],
  [
    "a client that may have no certificate",
    `session.peerCertificate.subject;`,
    `session.peerCertificate?.subject;`,
  ],
  [
    "an onConnect that decides nothing",
    `new Server(address, {
  handle: app,
  onConnect(session) {
    console.log(session.address);
  },
});`,
    `new Server(address, { handle: app, onConnect: (session) => session.address !== null });`,
  ],
  [
    "a path as key of a router",
    `new Router({ "/users": app });`,
    `new Router({ users: app });`,
    ["RangeError", '"/users"'],
  ],
  [
    "the answer of a route in the place of its app",
    `new Router({ users: reply(200) });`,
    `new Router({ users: () => reply(200) });`,
  ],
  [
    "a key of a router that is a number",
    `new Router([[5, app]]);`,
    `new Router([["5", app]]);`,
  ],
  [
    "an app alone in the place of an entry",
    `new Router([app]);`,
    `new Router([["a", app]]);`,
  ],
  [
    "a route by the path alone",
    `routes({ "/users": () => reply(200) });`,
    `routes({ "GET /users": () => reply(200) });`,
  ],
  [
    "a method in small letters",
    `routes({ "get /users": () => reply(200) });`,
    `routes({ "GET /users": () => reply(200) });`,
  ],
  [
    "a name that the path of the route does not have",
    `routes({ "GET /user/{name}": ({ user }) => reply(200, user) });`,
    `routes({ "GET /user/{user}": ({ user }) => reply(200, user) });`,
  ],
  [
    "an app in the place of the function of a route",
    `routes({ "GET /users": ({ body }: degu.Request) => reply(200, body) });`,
    `routes({ "GET /users": (_names, { body }) => reply(200, body) });`,
  ],
  [
    "a request that is not made",
    `expectOk(client.request);`,
    `expectOk(client.request("GET", "/"));`,
  ],
  [
    "a context, as Hono has it",
    `wrapApp(app, async (_context, next) => await next());`,
    `wrapApp(app, async (next, request, session, api) => await next(request, session, api));`,
  ],
  [
    "TLS without a configuration",
    `new SSLServer(address, app);`,
    `new SSLServer({ certFile: "/a", keyFile: "/b", caFile: "/c" }, address, app);`,
  ],
  [
    "the options of node:https",
    `new SSLClient({ rejectUnauthorized: false }, address);`,
    `new SSLClient({ checkHostname: false, caFile: "/a" }, address);`,
  ],
  [
    "a URL in the place of a client",
    `createFetch("http://127.0.0.1");`,
    `createFetch(new Client(["127.0.0.1", 80]));`,
  ],
  [
    "what makes neither requests nor connections",
    `createFetch({ fetch });`,
    `createFetch(client);`,
  ],
  [
    "a wrapper of connections that can not be closed",
    `new ProxyApp({ connect: () => Promise.resolve({ request: client.request.bind(client) }) });`,
    `new ProxyApp({ request: client.request.bind(client) });`,
  ],
  [
    "classes of bodies without their members",
    `new Client(address, { bodies: { ...bodies, Body: Blob } });`,
    `new Client(address, { bodies: { ...bodies, Body: class extends Body {} } });`,
  ],
  [
    "a way to make sockets",
    `new Client(address, {}, { defaultPort: 80, moreOptions: [], connect: () => client.createSocket() });`,
    `new Client(address, {});`,
  ],
  [
    "a way to listen",
    `new Server(address, app, {}, () => {
  const { promise } = Promise.withResolvers<never>();
  return { address, ready: promise, accept: () => promise, close() {}, ended: () => promise };
});`,
    `new Server(address, app, {});`,
  ],
  [
    "milliseconds under another name",
    `retry(() => client.request("GET", "/"), { delay: 2 });`,
    `retry(() => client.request("GET", "/"), { seconds: 2 });`,
  ],
  [
    "a promise in the place of a function",
    `retry(client.request("GET", "/"));`,
    `retry(() => client.request("GET", "/"));`,
  ],
  [
    "a repetition without an end",
    `repeat(() => client.request("GET", "/"), { seconds: 5 });`,
    `repeat(() => client.request("GET", "/"), { seconds: 5, signal: terminationSignal() });`,
  ],
  [
    "two strings that are swapped",
    `await downloadTree(client, "/home/me/photos", "/photos/");`,
    `await downloadTree(client, "/photos/", "/home/me/photos");`,
    ["RangeError", "/home/me/photos"],
  ],
  [
    "a directory and names that are swapped",
    `downloadTree(client, "/home/me/photos", ["photos"]);`,
    `downloadTree(client, ["photos"], "/home/me/photos");`,
  ],
  [
    "a URL in the place of a URI",
    `download(client, new URL("file:///a"), "/a");`,
    `download(client, "/a", new URL("file:///a"));`,
  ],
  [
    "bytes in the place of a file",
    `upload(client, bytes, "/a");`,
    `upload(client, "/tmp/a", "/a");`,
  ],
  [
    "a list of files that arrives bit by bit",
    `for (const { name } of listTree(client, "/")) console.log(name);`,
    `for await (const { name } of listTree(client, "/")) console.log(name);`,
  ],
  [
    "a filter that is a promise",
    `uploadTree(client, "/tmp/a", "/", { filter: async ({ size }) => await Promise.resolve(size > 0) });`,
    `uploadTree(client, "/tmp/a", "/", { filter: ({ size }) => size > 0 });`,
  ],
  [
    "a device in the place of a client",
    `download(device, "/a", "/tmp/a");`,
    `download(await device.client("camera"), "/a", "/tmp/a");`,
  ],
  [
    "a peer that may be unknown",
    `device.client(await device.peer("camera"));`,
    `device.client((await device.peer("camera"))!);`,
  ],
  [
    "a number that nobody confirms",
    `device.invite({
  confirm({ number }) {
    console.log(number);
  },
});`,
    `device.invite({ confirm: ({ number }) => confirm(number) });`,
  ],
  [
    "an invitation on a Unix socket",
    `device.invite({ listen: ["/run/a.socket"] });`,
    `device.invite({ listen: [["127.0.0.1", 0]] });`,
  ],
  [
    "an invitation at an address that may be a Unix socket",
    `({ serving: [address] }) satisfies InviteOptions;`,
    `({ serving: [["fe80::1", 80, 0, 2]] }) satisfies InviteOptions;`,
  ],
  [
    "an app in the place of its module",
    `ServerPool.start(address, app);`,
    `ServerPool.start(address, { module: import.meta.resolve("./app.ts"), name: "app" });`,
  ],
  [
    "an app in the place of a function that makes it",
    `TempServer.start(address, () => reply(200));`,
    `TempServer.start(address, null, () => [200, "OK", {}, null] as const);`,
  ],
  [
    "a certificate that is not made",
    `const pki = await TempPKI.create({ clientPki: false });
pki.clientSslconfig.certFile satisfies string;`,
    `const pki = await TempPKI.create();
pki.clientSslconfig.certFile satisfies string;`,
  ],
  [
    "the Request of the platform",
    `callApp(app, new Request("http://localhost/"));`,
    `callApp(app, mkreq("GET", "/"));`,
  ],
  [
    "a traced connection",
    `tracedClient(conn);`,
    `await tracedClient(client).connect();`,
  ],
  [
    "a code that no error of a peer has",
    `if ((null as unknown as DeviceError).code === "LOST") throw new Error();`,
    `if ((null as unknown as DeviceError).code === "CLOSED") throw new Error();`,
  ],
];

/** What must compile, under all sets of compiler options. */
export const RIGHT: Readonly<Record<string, string>> = {
  "apps of all kinds": `
class Counter {
  #count = 0;
  handle({ uri }: degu.Request) {
    return reply(200, \`\${uri} \${++this.#count}\`);
  }
}
class Guarded implements AppObject {
  handle = () => json({});
  onConnect = (session: Session) => session.peerCertificate !== null;
}
const typed = (({ uri }) => [200, "OK", { uri }, "text"]) satisfies App;
const several: App = async ({ method, query }) => {
  await Promise.resolve();
  if (method === "GET") return [404, "Not Found", {}, null];
  return query === null ? reply(404) : [200, "OK", { query }, bytes];
};
const either = ({ method }: degu.Request) => method === "GET" ? client.request("GET", "/") : reply(405);
const withApi: App = (_request, _session, { BodyIter }: Api) => [200, "OK", {}, new BodyIter([bytes], 1)];
for (const each of [new Counter(), new Guarded(), typed, several, either, withApi]) new Server(address, each);
`,
  "routes in plain objects, nested, collected, frozen": `
class Users {
  handle = () => json([]);
}
const collected: Record<string, App> = { a: app };
new Router({ users: new Users(), admin: { users: new Users(), "": app }, api: collected });
new Router({ ...collected, all: Object.fromEntries([["a", app], ["b", new Users()]]) });
new Router(Object.freeze({ users: app, admin: Object.freeze({ users: app }) }));
new Router({ users: ({ method }) => [200, "OK", { method }, null] });
new Router(new Map([["a", app]]));
new Router([["a", app], ["b", [[null, app], ["c", ({ method }) => [200, "OK", { method }, null]]]]]);
new Router([["d", new Map([["e", app]])]]);
new Router([]);
`,
  "routes by method and path": `
routes({
  "GET /": () => reply(200),
  "PUT /user/{name}/{key}": async ({ name, key }, request, { store }) => {
    store.set(name, key);
    return reply(200, await request.body?.text() ?? "");
  },
  "DELETE /user/{name}": ({ name }) => client.request("DELETE", buildUri([name])),
}) satisfies App;
`,
  "a response that has to be a success": `
(await expectOk(client.request("GET", "/"))).body?.text() satisfies Promise<string> | undefined;
await expectOk(response);
await retry(() => expectOk(conn.get("/")));
await expectOk(callApp(app, mkreq("GET", "/")));
`,
  "requests that are forwarded": `
const same: App = ({ method, uri, headers, body }) => client.request(method, uri, headers, body);
const changed: App = ({ method, headers, body }) =>
  client.request(method, "/", { ...headers, host: undefined, via: "a" }, body);
const copied: App = async (request) => {
  const { status, reason, headers, body } = await client.request(request.method, request.uri);
  return [status, reason, { ...headers, "x-new": "a" }, body];
};
const whole: App = () => client.request("GET", "/");
`,
  "headers from elsewhere": `
const given: Readonly<Record<string, string>> = Object.freeze({ a: "b" });
client.request("GET", "/", given);
client.request("GET", "/", Object.fromEntries(new Headers({ a: "b" })));
const etag = given["etag"];
reply(200, "text", { etag });
const built: HeaderDict = {};
for (const [name, value] of Object.entries(given)) built[name] = value;
built["content-length"] = 5;
const length: number | undefined = request.headers["content-length"];
`,
  "wrappers of clients and connections, as the documents of the original show them": `
class WrappedConnection {
  readonly conn: Connection;
  constructor(conn: Connection) {
    this.conn = conn;
  }
  get closed() {
    return this.conn.closed;
  }
  close() {
    this.conn.close();
  }
  request(method: Method, uri: string, headers: HeaderDict, body: BodyOut) {
    return this.conn.request(method, uri, headers, body);
  }
}
class WrappedClient {
  readonly client: Client;
  constructor(client: Client) {
    this.client = client;
  }
  async connect() {
    return new WrappedConnection(await this.client.connect());
  }
}
const connector: Connector = new WrappedClient(client);
const requester: Requester = {
  request: (method, uri, headers = {}, body = null) => client.request(method, uri, headers, body),
};
new ConnectionPool(connector);
for (const each of [connector, requester, new WrappedConnection(conn)]) {
  new ProxyApp(each);
  createFetch(each);
  download(each, "/a", "/tmp/a");
  uploadTree(each, "/tmp/a", []);
}
`,
  "subclasses": `
class MyClient extends Client {
  override async request(...given: Parameters<Client["request"]>) {
    console.log(...given.slice(0, 2));
    return await super.request(...given);
  }
}
class MyServer extends Server {
  override close() {
    super.close();
  }
}
download(new MyClient(["127.0.0.1", 80]), "/a", "/tmp/a");
createFetch(new MyClient("/run/a.socket"));
new MyServer(address, app, { maxRequests: 5 });
`,
  "classes of bodies of one's own": `
class CountedBody implements Pick<Body, keyof Body> {
  readonly inner: Body;
  readonly chunked = false;
  readonly contentLength: number;
  constructor(source: degu.BodyInput, contentLength: number) {
    this.inner = new Body(source, contentLength);
    this.contentLength = contentLength;
  }
  get used() {
    return this.inner.used;
  }
  get readable() {
    return this.inner.readable;
  }
  read = (size?: number) => this.inner.read(size);
  bytes: Body["bytes"] = (options) => this.inner.bytes(options);
  text: Body["text"] = (options) => this.inner.text(options);
  json: Body["json"] = (options) => this.inner.json(options);
  writeTo: Body["writeTo"] = (sink) => this.inner.writeTo(sink);
  cancel = (reason?: unknown) => this.inner.cancel(reason);
  [Symbol.asyncIterator] = () => this.inner[Symbol.asyncIterator]();
  [Symbol.asyncDispose] = () => this.inner[Symbol.asyncDispose]();
}
const counted = { ...bodies, Body: CountedBody };
new Client(address, { bodies: counted });
client.connect(counted, { signal });
client.connect({ bodies: counted, signal });
new Connection(conn.sock, null, counted);
`,
  "generics over apps and requesters": `
function withServer<A extends App>(app: A): AppObject {
  return wrapApp(app, async (next, request, session, api) => {
    const answer = await next(request, session, api);
    return "status" in answer ? answer : [answer[0], answer[1], { ...answer[2], server: "a" }, answer[3]];
  });
}
async function getJson<T>(from: Requester, uri: string): Promise<T> {
  const response = await from.request("GET", uri);
  if (!response.ok) throw new Error(response.reason);
  return await response.json() as T;
}
withServer(new FilesApp("/tmp"));
const { name }: { name: string } = await getJson(new ConnectionPool(client), "/");
const list = await getJson<string[]>(conn, "/");
`,
  "paths and names, as strings, URLs and lists": `
download(client, ["photos", "1.jpg"] as const, new URL("file:///tmp/1.jpg"));
upload(conn, "/tmp/a", "/a", { replace: false });
uploadTree(client, new URL("file:///tmp/a/"), []);
new FilesApp(new URL("file:///tmp"));
Device.open(new URL("file:///tmp/a"), { name: "a" });
Body.fromFile(new URL("file:///tmp/a"));
buildUri(request.path, request.query);
buildUri(["a"], new URLSearchParams("a=b"));
buildUri(["a"]);
`,
  "addresses, frozen, spread and made": `
const at = (port: number): [string, number] => ["127.0.0.1", port];
const frozen = Object.freeze(["127.0.0.1", 80] as const);
for (const each of [at(80), frozen, server.address, "/run/a.socket", new Uint8Array([0, 97])]) new Client(each);
const list = [["::1", 80, 0, 0], ["127.0.0.1", 80]] as const;
device.join(list, { confirm: () => true });
device.invite({ listen: list, serving: [...list] });
`,
  "bytes for the platform": `
crypto.subtle.digest("SHA-256", session.peerCertificate!.raw);
crypto.subtle.digest("SHA-256", session.peerCertificate!.authority!.raw);
crypto.subtle.digest("SHA-256", await response.bytes());
for await (const [, data] of response.body as ChunkedBody) new Blob([data]);
new Blob([(await (response.body as ChunkedBody).readChunk())[1]]);
new Response(response.body!.readable);
const stream = new Blob(["a"]).stream().pipeThrough(new ChunkedEncoderStream());
await new Response(stream).bytes() satisfies Uint8Array<ArrayBuffer>;
response.body!.readable.pipeThrough(new DecompressionStream("gzip")).pipeThrough(new TextDecoderStream());
`,
  "bytes from the platform": `
client.request("PUT", "/", {}, new Uint8Array(new SharedArrayBuffer(4)));
client.request("PUT", "/", {}, await Deno.readFile("/tmp/a"));
reply(200, new Body((await fetch("http://127.0.0.1")).body!, 5));
reply(200, new Body(Deno.stdin, 5));
new Connection(await Deno.connect({ port: 80 }), null);
await Deno.writeFile("/tmp/a", response.body!.readable);
response.body!.writeTo(Deno.stdout);
`,
  "generators as bodies": `
function* pieces() {
  yield new Uint8Array(3);
}
async function* chunks() {
  yield [null, bytes] as const;
}
async function* typed(): AsyncGenerator<Chunk> {
  for await (const value of new Latest<string>()) yield [["n", value], new TextEncoder().encode(value)];
}
for (const each of [pieces(), [bytes], new Set([bytes])]) reply(200, new BodyIter(each, 3));
for (const each of [chunks(), typed(), [[null, bytes]] as const]) reply(200, new ChunkedBodyIter(each));
`,
  "options from a configuration": `
const config: { timeout?: number; logger?: Console } = JSON.parse("{}");
new Client(address, { timeout: config.timeout, signal: undefined });
new Server(address, app, { ...config, timeout: config.timeout });
new SSLServer({ cert: "a", key: "b", ca: ["a", "b"] as const }, address, app);
const pki = await TempPKI.create();
new SSLServer({ ...pki.serverSslconfig }, address, app);
new SSLClient({ ...pki.clientSslconfig, checkHostname: true }, address);
class Quiet {
  debug() {}
  info() {}
  warn(message: string) {
    console.warn(message);
  }
  error = console.error;
}
new Server(address, app, { logger: new Quiet(), onExchange: accessLog((line) => console.log(line)) });
const methods: Method[] = ["GET", "HEAD"];
new AllowedMethods(...methods).wrap(app);
`,
  "the bridge to fetch": `
const ownFetch: typeof fetch = createFetch(conn);
const handler: Deno.ServeHandler = toFetchHandler(new FilesApp("/tmp"));
new Server(address, fromFetchHandler(async (request) => new Response(await request.text())));
new Server(address, fromFetchHandler({ fetch: (request: Request) => new Response(request.url) }));
`,
  "answers that an app gives again": `
const answer = await callApp(app, mkreq("GET", "/"));
const again: App = () => answer;
const made: App = () => answer.ok ? answer : reply(500);
const checked = await new Validator(app).handle(request, session, api);
const [status, , headers] = checked;
const parts: [number, string, HeaderDict, BodyOut] = [status, checked[1], headers, checked[3]];
`,
  "work that is repeated and tried again": `
repeat((signal) => download(client, "/a", "/tmp/a", { signal }), { seconds: 5, signal });
retry((moved) => upload(client, "/tmp/a", "/a", { onProgress: moved }), { seconds: 2, signal });
retry(() =>
  downloadTree(client, "/", "/tmp/a", {
    filter: ({ name }) => !name.startsWith("."),
    onEvent(event) {
      if (event.type === "failed") console.error(event.path.join("/"), event.error);
    },
  })
);
`,
  "devices and what they serve": `
const { devices: { camera, viewer } } = await TempDevices.create("camera", "viewer");
await using served = await camera.serve(["127.0.0.1", 0], perPeer(async ({ name }) => {
  await Deno.mkdir(name);
  return new FilesApp(name);
}));
const traced = tracedClient(await viewer.client("camera", { timeout: 5 }));
await traced.request("GET", "/");
new Server(address, tracedApp(new Router({})));
device.join([["127.0.0.1", 80]], { confirm: async ({ number }) => await Promise.resolve(number === "1") });
`,
  "advice for each code of an error": `
const advice = ({ code, peerName }: PairingError): string => {
  switch (code) {
    case "NOT_A_LINE":
    case "GARBLED":
      return "copy the line again";
    case "OLDER":
    case "NEWER":
      return "update";
    case "EXPIRED":
    case "NOT_OPEN":
    case "ANSWER_LOST":
      return "invite again";
    case "OWN":
    case "NAME_TAKEN":
      return \`choose another name than \${peerName}\`;
    case "UNREACHABLE":
    case "BUSY":
    case "NOT_CONFIRMED":
      return "try again";
    case "REFUSED":
    case "BAD_ANSWER":
      return "see the log";
  }
};
const isForGood = ({ code }: DeviceError): boolean => {
  switch (code) {
    case "FORGOTTEN":
    case "NO_ADDRESS":
    case "CLOSED":
      return true;
    case "UNREACHABLE":
      return false;
  }
};
device.join("").catch((error: PairingError) => advice(error));
`,
  "modules and arguments of workers": `
const args = ["hello", 5] as const;
ServerPool.start(address, { module: import.meta.resolve("./app.ts"), name: "app", args });
ServerPool.start(address, { module: new URL("./app.ts", import.meta.url), name: "app" });
TempServer.start(["127.0.0.1", 0], { module: import.meta.resolve("./app.ts"), name: "build" }, 5);
TempServer.start(address, (greeting: string) => () => [200, "OK", { greeting }, null] as const, "hello");
`,
};
