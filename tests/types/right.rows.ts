/** Programs that must compile, which too narrow types would refuse. */

import type { RightPrograms } from "./programs.ts";

export const RIGHT: RightPrograms = {
  "options that are undefined, as in { timeout: config.timeout }": `
const none: undefined = undefined;
new Client(address, { host: none, timeout: none, headers: none, signal: none, dial: none });
new SSLClient({ ca: none, caFile: none }, address, { sslHost: none, protocol: none });
new Server(address, app, { maxConnections: none, timeout: none, logger: none, hosts: none });
new ConnectionPool(client, { maxConnections: none, idleTimeout: none, repeat: none });
client.get("/", {}, { signal: none });
new ProxyApp(client, { headers: none, logger: none, signal: none });
fromFetchHandler(() => new Response(), { origin: none });`,
  "a client of the port that was chosen": `
const other = new Client(["127.0.0.1", server.port]);`,
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
  "streams and generators as bodies": `
reply(200, new Blob(["a"]).stream());
reply(200, (async function* () {
  yield "a";
})());
client.request("PUT", "/", {}, new Blob(["a"]).stream());
`,
  "routes by method and path": `
routes({
  "GET /": () => reply(200),
  "PUT /user/{name}/{key...}": async (request, { store }) => {
    const { name, key } = request.parameters;
    store.set(name, key);
    return reply(200, await request.text());
  },
  "DELETE /user/{name}": ({ parameters: { name } }) => client.request("DELETE", buildUri([name])),
  "/files/": new FilesApp("/tmp"),
  "/api/": app,
}) satisfies App;
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
  "bytes from the platform": `
client.request("PUT", "/", {}, new Uint8Array(new SharedArrayBuffer(4)));
client.request("PUT", "/", {}, await Deno.readFile("/tmp/a"));
reply(200, new Body((await fetch("http://127.0.0.1")).body!, 5));
reply(200, new Body(Deno.stdin, 5));
new Connection(await Deno.connect({ port: 80 }), null);
await Deno.writeFile("/tmp/a", response.body!.readable);
response.body!.writeTo(Deno.stdout);
`,
  "actions that are repeated and retried": `
repeat((signal) => download(client, "/a", "/tmp/a", { signal }), { seconds: 5, signal });
repeat(() => console.log("tick"), { seconds: 60, signal });
const first: number = await retry(() => 1, { onRetry: async ({ number }) => await console.log(number) });
new ProxyApp(client, { headers: async () => ({ "x-token": await Promise.resolve("a") }) });
retry((moved) => upload(client, "/tmp/a", "/a", { onProgress: moved }), { seconds: 2, signal });
retry(() =>
  downloadTree(client, "/", "/tmp/a", {
    filter: { directory: ({ name }) => !name.startsWith(".") },
    onEvent(event) {
      if (event.type === "failed") console.error(event.path.join("/"), event.error);
    },
  })
);
`,
  "a value that a middleware leaves for an app": `
const withUser = (app: App) =>
  wrapApp(app, (next, request, { store }) => {
    request.store.set("user", request.headers["x-user"]);
    store.set("since", Date.now());
    return next(request.with({ headers: { ...request.headers, "x-user": undefined } }));
  });
const hello: App = ({ store }) => reply(200, \`hello, \${store.get("user")}\`);
withUser(routes({ "GET /": hello, "GET /{name}": ({ store }) => json(store.has("user")) }));
const fetched = fromFetchHandler((_request, { request: { store } }) => Response.json([...store]));
`,
  "answers as objects": `
const object: App = () => ({ status: 200, reason: "OK", headers: {}, body: "hello" });
const later: App = async ({ uri }) => {
  const { status, reason, headers, body } = await client.request("GET", uri);
  return status === 200 ? { status, reason, headers, body } : { ...reply404, headers: { uri } };
};
const reply404 = { status: 404, reason: "Not Found", headers: {}, body: null };
const mixed = ({ method }: degu.Request) => method === "GET" ? reply404 : reply(405);
routes({ "GET /": object, "GET /a": () => reply404, "/b/": mixed });
wrapApp(object, async (next) => ({ ...(await next()), status: 201, reason: "Created" }));
new Server(address, mixed);
`,
  "answers that are thrown": `
function check(flag: boolean): asserts flag {
  if (!flag) throw new ResponseError(reply(403));
}
const guarded: App = async (request) => {
  check(request.headers["x-key"] === "secret");
  const response = await client.request("GET", "/");
  if (!response.ok) throw new ResponseError(response);
  return response;
};
const seen = (error: unknown) => error instanceof ResponseError ? error.response : reply(500);
`,
  "statuses and values that are known at run time": `
const status: number = flag ? 204 : 200;
reply(status);
reply(status, "text", { a: "b" });
reply(flag ? 200 : 404, flag ? "text" : null);
reply(flag ? 204 : 200, bytes);
reply(304, null, { etag: "a" });
const make: (
  status: number,
  ...rest: [] | [body: BodyOut, headers?: HeadersToSend]
) => degu.ResponseTuple = reply;
`,
  "requests by every requester": `
const send = (requester: Requester) => requester.request("GET", "/");
for (const requester of [client, conn, new ConnectionPool(client)]) await send(requester);
await conn.request("GET", "/");
await conn.request("POST", "/");
await conn.request("DELETE", "/", { a: "b" }, null, { signal });
await client.request("POST", "/", {}, null, { signal });
await client.request(flag ? "GET" : "POST", "/", {}, null);
mkreq("GET", "/a/b", {}, null, 1);
mkreq("PUT", "/a/b", { a: "b" }, "c", 1);
mkreq("HEAD", "/", { range: new Range(0, 1) });
const relay = (method: Method, uri: string, headers?: HeadersToSend, body?: BodyOut) =>
  client.request(method, uri, headers, body);
const make = (method: Method, body: BodyOut) => mkreq(method, "/", {}, body);
class SigningClient extends Client {
  override request(
    method: Method,
    uri: string,
    headers: HeadersToSend = {},
    body: BodyOut = null,
    options?: degu.RequestOptions,
  ) {
    return super.request(method, uri, { ...headers, "x-signature": "a" }, body, options);
  }
}
const signing: Requester = {
  request: (method, uri, headers, ...rest) =>
    client.request(method, uri, { ...headers, "x-signature": method + uri }, ...rest),
};
createFetch(signing);
createFetch(new SigningClient(address));
`,
  "routes by method and path, with odd components": `
routes({
  "GET /": () => reply(200),
  "GET /a/": () => reply(200),
  "/a/b/": app,
  "GET /time/{hour}/12:30": ({ parameters: { hour } }) => reply(200, hour),
  "GET /{path...}": ({ parameters: { path } }) => reply(200, path),
});
const name: string = "GET /{id}";
routes({ [name]: app });
await using table = routes({ "GET /": app, "/files/": new FilesApp("/tmp") });
await using outer: AsyncDisposable = routes({ "/api/": table });
const wrapped: App = wrapApp(table, (next) => next());
const shared: App = ({ parameters: { name } }) => reply(200, name ?? "no name");
const parameters: Readonly<Record<string, string | undefined>> = request.with({}).parameters;
routes({ "GET /{name}": shared, "GET /a/{id}": ({ parameters: { id } }) => reply(200, id.trim()) });
await table[Symbol.asyncDispose]();
`,
  "headers to send, from different sources": `
const built: HeadersToSend = {};
built["content-length"] = 5;
built["x-a"] = "b";
if (flag) built.range = undefined;
const all: HeadersToSend[] = [
  {},
  built,
  request.headers,
  response.headers,
  { ...request.headers, "x-new": "a", host: undefined },
  { ...built, range: new Range(0, 5) },
  { "content-length": 5, "content-type": "text/plain" },
  { "content-range": new ContentRange(0, 5, 9) },
  { ["x-" + cert]: "a" },
  flag ? { etag: "a" } : {},
  Object.freeze({ a: "b" }),
  Object.fromEntries(new Headers({ a: "b" })),
  JSON.parse("{}"),
  request.headers.etag === undefined ? {} : { etag: request.headers.etag },
];
for (const headers of all) {
  client.request("PUT", "/", headers, "a");
  conn.getRange("/", headers, 0, 5);
  reply(200, "a", headers);
  new ProxyApp(client, { headers: () => headers });
  new Client(address, { headers });
  new Connection(conn.sock, headers);
  const tuple: ResponseTuple = [200, "OK", headers, null];
}
`,
  "received headers": `
const name: string = JSON.parse('"content-type"');
const value: string | undefined = request.headers[name];
const same: string | undefined = request.headers["content-type"];
const { "content-type": type = "text/plain", etag } = response.headers;
const length: number | undefined = response.headers["content-length"];
const range: Range | SuffixRange | string | undefined = request.headers.range;
const start = range instanceof Range ? range.start : range instanceof SuffixRange ? range.length : 0;
const contentRange = response.headers["content-range"];
const total: number | null = typeof contentRange === "object" ? contentRange.total : start;
for (const cookie of response.headers["set-cookie"] ?? []) console.log(cookie.split(";"), total);
for (const [name, value] of Object.entries(request.headers)) console.log(name, value);
const text = JSON.stringify({ ...request.headers, value, same, type, etag });
const given: Readonly<Record<string, unknown>> = request.headers;
const sent: HeadersToSend = request.headers;
const prefix: "x-a" | "x-b" = flag ? "x-a" : "x-b";
const part: string | undefined = request.headers[prefix] ?? request.headers[\`\${prefix}-\${name}\`];
if ("accept" in request.headers) json(Object.keys(response.headers));
const priority = request.headers["3gpp-sbi-message-priority"]?.trim();
`,
  "bodies of the platform": `
const platform: BodyOut[] = [
  new Blob(["a"], { type: "text/plain" }),
  new File(["a"], "a.txt"),
  new ArrayBuffer(4),
  new URLSearchParams({ a: "b" }),
  await new Blob(["a"]).arrayBuffer(),
  (await Deno.readFile("/tmp/a")).buffer,
  await (await fetch("http://127.0.0.1")).blob(),
];
for (const body of platform) {
  client.post("/", {}, body);
  reply(200, body);
  new Server(address, () => [200, "OK", {}, body]);
}
new Server(address, ({ searchParams }) => flag ? reply(200, searchParams) : reply(200, "a"));
mkreq("POST", "/", {}, new URLSearchParams({ a: "b" }));
mkreq("PUT", "/", {}, new Blob(["a"]));
`,
  "a retry without expectOk": `
const { status } = await retry(() => client.request("GET", "/"));
const { ok } = await retry(() => client.get("/"), { when: isTransient, retries: 5 });
await retry(async (moved) => {
  const response = await client.request("POST", "/", {}, "a");
  moved();
  return response.status;
}, {
  when: (error) => isTransient(error) || error instanceof StatusError && error.status === 404,
  onRetry: ({ error, number }) => console.log(number, describeConnectionError(error)?.fault),
});
`,
  "reading the fields of errors": `
if (error instanceof DeguError) console.log(error.code ?? "", error.problem);
if (error instanceof StatusError) {
  const { status, reason, method, uri, headers, text, retryAfter } = error;
  console.log(status + (retryAfter ?? 0), reason, method === "GET", uri, headers.etag, text);
}
if (error instanceof TransferError) console.log(error.kept?.path, error.kept?.bytes, error.limit);
if (error instanceof PairingError) console.log(error.reason === "local", error.peerName);
if (error instanceof TlsError && error.address !== null) new Client(error.address);
const { fault, address: at, missingBytes } = describeConnectionError(error) ?? {};
if (fault === "refused" && at != null) new Client(at);
console.log(missingBytes, describeArgumentError(error)?.argument);
class Busy extends DeguError {
  override readonly code = "BUSY";
  readonly status = 503;
}
console.log(new Busy("the lamp is busy; try again", { problem: "the lamp is busy", cause: error }).problem);
`,
  "console as a logger": `
    await Server.start(["127.0.0.1", 0], () => reply(204), { logger: console });`,
  "a logger of a proxy with warn alone, and one with record": `
    const upstream = new Client(["127.0.0.1", 80]);
    new ProxyApp(upstream, { logger: { warn: () => {} } });
    new ProxyApp(upstream, { logger: { warn: () => {}, record: (level) => void level } });`,
  "the result of wrapApp for a function": `
const plain: AppFunction = wrapApp(() => reply(200), (next, { uri }) => uri === "/" ? next() : reply(404));
plain(request, session, undefined as unknown as Api);
type LampRequest = degu.RouteRequest<"GET /lamp/{name}">;
const lamp = wrapApp(
  ({ parameters: { name } }: LampRequest) => reply(200, name),
  (next, request, session) => {
    const { name } = request.parameters;
    if (session.user !== name) return reply(403);
    return name === "" ? next() : next(request.with({ headers: {} }));
  },
);
routes({
  "GET /lamp/{name}": lamp,
  "GET /light/{id}": wrapApp(({ parameters }) => reply(200, parameters.id), (next) => next()),
});
`,
  "all forms of the trust of a server": `
const own: { certFile: string; keyFile: string } = { certFile, keyFile };
for (
  const sslconfig of [
    { ...own, ca },
    { ...own, ca: [ca], allowUnauthenticatedClients: true },
    { ...own, ca: [] },
    { ...own, caFile },
    { ...own, caPath: "/tmp/authorities" },
    { ...own, caFile, caPath: "/tmp/authorities", allowUnauthenticatedClients: flag },
    { ...own, caFile, allowUnauthenticatedClients: false },
    { ...own, allowUnauthenticatedClients: true },
    { cert, key, allowUnauthenticatedClients: flag },
    { cert, key, caFile, certFile: undefined, ca: undefined },
  ] satisfies ServerSslconfig[]
) new SSLServer(sslconfig, address, app);
`,
  "all forms of the trust of a client": `
for (
  const sslconfig of [
    {},
    { checkHostname: true },
    { ca },
    { ca: [ca], cert, key },
    { caFile, cert, key, checkHostname: flag },
    { caFile, caPath: "/tmp/authorities", certFile, keyFile, ca: undefined },
  ] satisfies ClientSslconfig[]
) new SSLClient(sslconfig, address);
`,
  "configurations that are changed by spreading": `
new SSLServer({ ...pki.serverSslconfig, caFile }, address, app);
new SSLServer({ ...pki.serverSslconfig, allowUnauthenticatedClients: true }, address, app);
new SSLServer({ ...pki.serverSslconfig, caFile: undefined, ca }, address, app);
new SSLServer({ ...pki.anonymousServerSslconfig, caFile }, address, app);
new SSLClient({ ...pki.clientSslconfig, checkHostname: true }, address);
new SSLClient({ ...pki.anonymousClientSslconfig, cert, key }, address);
new SSLServer(anyPki.serverSslconfig, address, app);
new SSLServer({ ...anyPki.serverSslconfig, allowUnauthenticatedClients: true }, address, app);
new SSLServer({ ...sslconfig, ca: undefined, caFile }, address, app);
new SSLServer({ ...sslconfig, certFile: undefined, keyFile: undefined, cert, key }, address, app);
new SSLClient({ ...clientSslconfig, caFile: undefined, caPath: undefined, ca }, address);
`,
  "every result of onConnect": `
const kinds: AppObject[] = [
  { handle: app, onConnect: () => true },
  { handle: app, onConnect: async () => await Promise.resolve(false) },
  { handle: app, onConnect: () => flag ? { user: "viewer" } : false },
  { handle: app, onConnect: async () => ({ user: "viewer", signal, isTrusted: async () => flag }) },
];
for (const each of kinds) wrapApp(each, (next) => next());
`,
  "reading the fields of a TransferError": `
try {
  await upload(client, "/tmp/a", ["a"], { replace: false, modified: undefined });
  await uploadTree(client, "/tmp/a", [], { partial: false });
} catch (error) {
  if (!(error instanceof TransferError)) throw error;
  const { code, at, needed, free, result, cause } = error;
  if (code === "DISK_FULL") console.error(at === "local", needed ?? 0, free ?? 0);
  if (code === "INCOMPLETE" && result !== null) console.error(result.failed, result.deletionsSkipped);
  if (cause instanceof StatusError) console.error(cause.status);
}
`,
  "options of a tree, also those that are built step by step": `
uploadTree(client, "/tmp/a", "/a/", { move: flag, settled: 5, retries: 3, signal });
uploadTree(client, "/tmp/a", "/a/", { move: true, delete: false, compare: undefined });
uploadTree(client, "/tmp/a", "/a/", { move: false, delete: flag, deleteAll: flag, maxDelete: 3 });
const common = { signal, connections: 2 };
uploadTree(client, "/tmp/a", "/a/", { ...common, ...flag ? { move: true } : { delete: true } });
const options: UploadTreeOptions = { delete: true };
if (flag) options.compare = "digest";
uploadTree(client, "/tmp/a", "/a/", options);
const moving: UploadTreeOptions = { move: true };
uploadTree(client, "/tmp/a", "/a/", { ...moving, dryRun: true });
uploadTree(client, "/tmp/a", "/a/", JSON.parse("{}"));
uploadTree(client, "/tmp/a", "/a/", { filter: { file: flag ? ({ size }) => size < 9 : undefined } });
uploadTree(client, "/tmp/a", "/a/", { filter: flag ? { directory: () => true } : undefined });
class Pictures {
  file = ({ name }: TreeEntry) => /\\.jpe?g$/i.test(name);
}
uploadTree(client, "/tmp/a", "/a/", { filter: new Pictures() });
`,
};
