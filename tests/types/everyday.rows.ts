/**
 * Programs by people who know `fetch`, Hono, Express, `node:http` or Go: wrong programs, each with
 * the intended program, and right programs that too narrow types would refuse.
 */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a header that may be missing | TS2532
- response.headers["x-none"].toString();
+ response.headers["x-none"]?.toString();

headers as in fetch | TS2349
- response.headers.get("content-type");
+ response.headers["content-type"];

assigning to a received header | only permits reading
- request.headers["x-new"] = "a";
+ ({ ...request.headers, "x-new": "a" }) satisfies HeadersToSend;

the name of a header with capitals | RangeError: "Content-Type"
- await client.request("PUT", "/", { "Content-Type": "text/plain" }, "a");
+ await client.request("PUT", "/", { "content-type": "text/plain" }, "a");

a missing await | TS2339
- client.request("GET", "/").status;
+ (await client.request("GET", "/")).status;

the init of fetch in place of headers and body | Source has 1 element(s) but target requires 2
- client.request("POST", "/", { headers: { a: "b" }, body: "c" });
+ client.request("POST", "/", { a: "b" }, "c");

options in the place of headers | AbortSignal
- conn.get("/", { signal });
+ conn.get("/", {}, { signal });

an object as body | Object literal may only specify known properties
- client.request("POST", "/", {}, { a: 1 });
+ client.request("POST", "/", {}, JSON.stringify({ a: 1 }));

a client in the place of a connection | Symbol.dispose
- using connection = new Client(address);
+ using connection = await new Client(address).connect();

two requests at once over a connection | DeguError: another request is in flight
- using connection = await client.connect();
- await Promise.all([connection.get("/a"), connection.get("/b")]);
+ await using pool = new ConnectionPool(client);
+ await Promise.all([pool.request("GET", "/a"), pool.request("GET", "/b")]);

a response that is not read before the next request | BodyError: the body of the previous response has not been read
- using connection = await client.connect();
- await connection.get("/a");
- await connection.get("/b");
+ using connection = await client.connect();
+ await (await connection.get("/a")).discard();
+ await connection.get("/b");

a body that may be missing | possibly 'null'
- await request.body.text();
+ await request.body?.text();

a URL as address | RangeError: path
- new Client("http://127.0.0.1:80");
+ new Client(["127.0.0.1", 80]);

a misspelled option | Did you mean to write 'timeout'
- new Client(address, { timeOut: 5 });
+ new Client(address, { timeout: 5 });

a server that is not awaited | Symbol.asyncDispose
- await using other = Server.start(address, app);
+ await using other = await Server.start(address, app);

the Response of the platform as answer | '() => Response'
- new Server(address, () => new Response("hello"));
+ new Server(address, fromFetchHandler(() => new Response("hello")));

an app that returns nothing | 'void'
- new Server(address, (request) => {
-   console.log(request.uri);
- });
+ new Server(address, (request) => {
+   console.log(request.uri);
+   return reply(200);
+ });

an answer in the wrong order | Type at position 1
- new Server(address, () => [200, {}, "OK", null]);
+ new Server(address, () => [200, "OK", {}, null]);

a route by the path alone | the key must be a method and a path, or for a mount a path that ends with /
- routes({ "/users": () => reply(200) });
+ routes({ "GET /users": () => reply(200) });

a parameter of another name | Property 'name' does not exist
- routes({ "GET /user/{id}": ({ parameters }) => reply(200, parameters.name) });
+ routes({ "GET /user/{id}": ({ parameters }) => reply(200, parameters.id) });

a method whose name resembles onConnect | TypeError: onConnect
- const guarded = { handle: app, onConnected: () => false };
- new Server(["127.0.0.1", 0], guarded);
+ const guarded = { handle: app, onConnect: () => false };
+ new Server(["127.0.0.1", 0], guarded);

a fetch of another host | TypeError: 127.0.0.1
- await createFetch(client)("https://api.example/");
+ await createFetch(client, { anyHost: true })("https://api.example/");

two strings that are swapped | RangeError: /home/me/photos
- await downloadTree(client, "/home/me/photos", "/photos/");
+ await downloadTree(client, "/photos/", "/home/me/photos");

a device in the place of a client | 'Requester | Connector'
- download(device, "/a", "/tmp/a");
+ download(await device.client("camera"), "/a", "/tmp/a");

a number that is not confirmed | 'boolean | Promise<boolean>'
- device.invite({
-   confirm({ number }) {
-     console.log(number);
-   },
- });
+ device.invite({ confirm: ({ number }) => confirm(number) });
`);

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
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
  "headers of other types": `
const given: Readonly<Record<string, string>> = Object.freeze({ a: "b" });
client.request("GET", "/", given);
client.request("GET", "/", Object.fromEntries(new Headers({ a: "b" })));
const etag = given["etag"];
reply(200, "text", { etag });
const built: HeadersToSend = {};
for (const [name, value] of Object.entries(given)) built[name] = value;
built["content-length"] = 5;
const length: number | undefined = request.headers["content-length"];
`,
  "wrappers of clients and connections, as in the documentation of Python Degu": `
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
  request(method: Method, uri: string, headers: HeadersToSend, body: BodyOut) {
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
  "generics over apps and requesters": `
function withServer(app: App): App {
  return wrapApp(app, async (next, request) => {
    if (request.method === "GET") return next();
    const { status, reason, headers, body } = await next();
    return [status, reason, { ...headers, server: "a" }, body];
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
};
