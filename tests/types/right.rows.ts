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
new ProxyApp(client, { headers: none, logger: none });
fromFetchHandler(() => new Response(), { origin: none });`,
  "bytes from the platform": `
client.request("PUT", "/", {}, new Uint8Array(new SharedArrayBuffer(4)));
client.request("PUT", "/", {}, await Deno.readFile("/tmp/a"));
reply(200, new Body((await fetch("http://127.0.0.1")).body!, 5));
reply(200, new Body(Deno.stdin, 5));
new Connection(await Deno.connect({ port: 80 }), null);
await Deno.writeFile("/tmp/a", response.body!.readable);
response.body!.writeTo(Deno.stdout);
`,
  "statuses and values that are known at run time": `
const status: number = flag ? 204 : 200;
reply(status);
reply(status, "text", { a: "b" });
reply(flag ? 200 : 404, flag ? "text" : null);
reply(flag ? 204 : 200, bytes);
reply(304, null, { etag: "a" });
`,
  "requests by every requester": `
const send = (requester: Requester) => requester.request("GET", "/");
for (const requester of [client, conn, new ConnectionPool(client)]) await send(requester);
await client.request(flag ? "GET" : "POST", "/", {}, null);
const relay = (method: Method, uri: string, headers?: HeadersToSend, body?: BodyOut) =>
  client.request(method, uri, headers, body);
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
  {} as Record<string, string>,
  {} as Record<string, string | number | undefined>,
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
  "JSON with a type and without one": `
const lamp: { on: boolean } = await request.json<{ on: boolean }>({ maxBytes: 99 });
const isOn = (await response.body?.json<{ on?: boolean }>())?.on ?? false;
const parsed: unknown = await response.json();
json({ lamp, isOn, parsed });
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
  "options of a tree, also those that are built step by step": `
uploadTree(client, "/tmp/a", "/a/", { move: flag, settled: 5, retries: 3, signal });
uploadTree(client, "/tmp/a", "/a/", { move: true, delete: false, compare: undefined });
uploadTree(client, "/tmp/a", "/a/", { move: false, delete: flag, deleteAll: flag });
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
