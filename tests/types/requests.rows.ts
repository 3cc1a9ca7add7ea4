/** Programs with requests, responses and routes, and frequent mistakes. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = [
  // ───────────────────────── requests

  ...parseWrongPrograms(`
a copy of a request by its fields | is missing the following properties from type 'Request'
- wrapApp(app, (next, request) => next({ ...request, headers: {} }));
+ wrapApp(app, (next, request) => next(request.with({ headers: {} })));

assigning to the path of a request | 'path' because it is a read-only property
- request.path = ["a"];
+ request.with({ path: ["a"] });

deleting a header of a request | only permits reading
- delete request.headers["cookie"];
+ request.with({ headers: { ...request.headers, cookie: undefined } });

a copy of a request with another method | 'method' does not exist
- request.with({ method: "GET" });
+ client.request("GET", request.buildProxyUri());

a copy of a request with a path as text | 'string' is not assignable to type 'readonly string[]'
- request.with({ path: "/a/b" });
+ request.with({ path: ["a", "b"] });

a copy of a request with a path that leaves its directory | RangeError: changes.path[0]: "..": ".." is not allowed
- mkreq("GET", "/").with({ path: ["..", "secret"] });
+ mkreq("GET", "/").with({ path: ["secret"] });

a value of a request as a property | Property 'user' does not exist
- request.store.user = "anna";
+ request.store.set("user", "anna");

a value of a request without a check | 'unknown' is not assignable to type 'string'
- const name: string = request.store.get("user");
+ const name = String(request.store.get("user") ?? "nobody");

data in the place of headers | Source has 1 element(s) but target requires 2
- client.request("POST", "/", { name: "anna" });
+ client.request("POST", "/", {}, JSON.stringify({ name: "anna" }));

data in the place of headers, over a connection | Source has 1 element(s) but target requires 2
- conn.request("PUT", "/", { name: "anna" });
+ conn.request("PUT", "/", {}, JSON.stringify({ name: "anna" }));

data in the place of headers, with one of two methods | Source has 1 element(s) but target requires 2
- client.request(flag ? "PUT" : "POST", "/", { name: "anna" });
+ client.request(flag ? "PUT" : "POST", "/", { name: "anna" }, null);

data in the place of headers, by a pool | Source has 1 element(s) but target requires 2
- new ConnectionPool(client).request("POST", "/", { name: "anna" });
+ new ConnectionPool(client).post("/", {}, "anna");

data in the place of headers, by a Requester | TypeError: body: must be given after the headers of a POST request
- const requester: Requester = client;
- await requester.request("POST", "/", { name: "anna" });
+ const requester: Requester = client;
+ await requester.request("POST", "/", {}, "anna");

data in the place of headers, by any method | TypeError: body: must be given after the headers of a PUT request
- const method: Method = JSON.parse('"PUT"');
- await client.request(method, "/", { name: "anna" });
+ const method: Method = JSON.parse('"PUT"');
+ await client.request(method, "/", {}, "anna");

data in the place of headers, for an app | Source has 1 element(s) but target requires 2
- await callApp(app, mkreq("POST", "/", { name: "anna" }));
+ await callApp(app, mkreq("POST", "/", {}, "anna"));

a body that a look-up lacks, of a request | 'undefined' is not assignable
- client.request("PUT", "/", {}, new Map([["a", "x"]]).get("b"));
+ client.request("PUT", "/", {}, new Map([["a", "x"]]).get("b") ?? null);

a body of a GET for an app | is not assignable to parameter of type
- mkreq("GET", "/", {}, "a");
+ mkreq("POST", "/", {}, "a");

a header with white space around it for an app | RangeError: headers["a"]
- mkreq("GET", "/", { a: " b" });
+ mkreq("GET", "/", { a: "b" });

the Request of the platform for an app | is missing the following properties from type 'Request'
- await callApp(app, new Request("http://127.0.0.1/"));
+ await callApp(app, mkreq("GET", "/"));

a request that is made by its constructor | TS2554
- const { Request } = await import("@degu/degu");
- new Request("GET", "/");
+ mkreq("GET", "/");
`),

  // ───────────────────────── responses

  ...parseWrongPrograms(`
an answer as an object without a reason | Property 'reason' is missing
- new Server(address, () => ({ status: 200, headers: {}, body: null }));
+ new Server(address, () => ({ status: 200, reason: "OK", headers: {}, body: null }));

an answer as an untyped array | not assignable to parameter of type 'App'
- const answer = () => [200, "OK", {}, null];
- new Server(address, answer);
+ const answer = (() => [200, "OK", {}, null]) satisfies App;
+ new Server(address, answer);

a status in the place of a thrown answer | 'number' is not assignable to parameter of type 'ResponseTuple | ResponseObject'
- const none: App = () => {
-   throw new ResponseError(404);
- };
+ const none: App = () => {
+   throw new ResponseError(reply(404));
+ };

a StatusError in the place of a thrown answer | TS2
- const none: App = () => {
-   throw new StatusError(404, "no lamp");
- };
+ const none: App = () => {
+   throw new ResponseError(reply(404, "no lamp"));
+ };

an app that passes on the failure of another server as its own answer | StatusError: the server answered 404 "Not Found"
- const upstream = () => callApp(() => reply(404), mkreq("GET", "/"));
- await callApp(() => expectOk(upstream()), mkreq("GET", "/"));
+ const upstream = () => callApp(() => reply(404), mkreq("GET", "/"));
+ await callApp(() => upstream(), mkreq("GET", "/"));

a status that no response can have | '100' is not assignable to parameter of type 'never'
- reply(100);
+ reply(200);

a status without a standard reason | RangeError: return [418, reason, headers, body]
- reply(418);
+ [418, "I am a teapot", {}, null] satisfies degu.ResponseTuple;

a body with a status that allows no body | '"x"' is not assignable to type 'null'
- reply(204, "x");
+ reply(204);

undefined as JSON | TypeError: value: must have a form in JSON; got undefined
- json(new Map([["a", 1]]).get("b"));
+ json(new Map([["a", 1]]).get("b") ?? null);

a large number inside of JSON | TypeError: Do not know how to serialize a BigInt
- json({ a: 1n });
+ json({ a: \`\${1n}\` });

a body that a look-up lacks | 'undefined' is not assignable
- reply(200, new Map([["a", "x"]]).get("b"));
+ reply(200, new Map([["a", "x"]]).get("b") ?? "none");

a body that a look-up lacks, with a cast | TypeError: body: must be null or left out if there is none; got undefined
- reply(200, new Map([["a", "x"]]).get("b")!);
+ reply(200, new Map([["a", "x"]]).get("b") ?? null);

an optional body | 'undefined' is not assignable
- const ok = (body?: string) => reply(200, body);
+ const ok = (body: string | null = null) => reply(200, body);

a body in some cases | 'undefined' is not assignable
- reply(200, flag ? "a" : undefined);
+ reply(200, flag ? "a" : null);

headers without a body | 'undefined' is not assignable
- reply(200, undefined, { etag: "a" });
+ reply(200, null, { etag: "a" });

a Response with headers that are null | 'null' is not assignable to parameter of type
- const { Response } = await import("@degu/degu");
- new Response(200, "OK", null, null);
+ const { Response } = await import("@degu/degu");
+ new Response(200, "OK", {}, null);

an object as body of a reply | send a value as JSON with json(value, status)
- reply(200, { name: "anna" });
+ json({ name: "anna" });

a promise as body of a reply | is not assignable to type 'BodyOut'
- reply(200, Promise.resolve("text"));
+ reply(200, await Promise.resolve("text"));

a custom object with writeTo as body | is not assignable to type 'BodyOut'
- reply(200, { chunked: true, used: false, writeTo() {}, cancel() {} });
+ reply(200, new BodyIter([bytes], bytes.length));
`),

  // ───────────────────────── routes and URIs

  ...parseWrongPrograms(`
a parameter as in Express | write {name} in place of :name
- routes({ "GET /user/:id": () => reply(200) });
+ routes({ "GET /user/{id}": ({ parameters: { id } }) => reply(200, id) });

a parameter as in Express, before other components | write {name} in place of :name
- routes({ "/user/:id/": app });
+ routes({ "/user/{id}/": app });

a parameter as in Express, in keys that are made at run time | RangeError: {id}
- const table: Record<string, App> = { "GET /user/:id": app };
- routes(table);
+ const table: Record<string, App> = { "GET /user/{id}": app };
+ routes(table);

a route with an empty component | a component of the path is empty
- routes({ "GET /user//name": () => reply(200) });
+ routes({ "GET /user/name": () => reply(200) });

two routes for the same requests | RangeError: table["GET /user/{id}"]
- routes({ "GET /user/{id}": app, "GET /user/{name}": app });
+ routes({ "GET /user/{id}": app, "PUT /user/{name}": app });

a parameter that may be missing, in an app for any route | 'parameters.name' is possibly 'undefined'
- const show: App = ({ parameters }) => reply(200, parameters.name.toUpperCase());
+ const show: App = ({ parameters }) => reply(200, parameters.name?.toUpperCase() ?? null);

a parameter of a key that is made at run time | 'id' is possibly 'undefined'
- const key: string = "GET /{id}";
- routes({ [key]: ({ parameters: { id } }: degu.Request) => reply(200, id.trim()) });
+ const key: string = "GET /{id}";
+ routes({ [key]: ({ parameters: { id = "" } }: degu.Request) => reply(200, id.trim()) });

a directory under a key with a method | RangeError: table["GET /files/"]: must be a mount, "/files/"
- routes({ "GET /files/": new FilesApp("/tmp") });
+ routes({ "/files/": new FilesApp("/tmp") });

a directory under a key with a method and all that follows | RangeError: must be a mount, "/files/"
- routes({ "GET /files/{path...}": wrapApp(new FilesApp("/tmp"), (next) => next()) });
+ routes({ "GET /{path...}": new FilesApp("/tmp"), "/api/": routes({ "GET /": app }) });

a table under a key with a method | RangeError: must be a mount, "/api/"
- routes({ "GET /api/": routes({ "GET /lamps": app }) });
+ routes({ "/api/": routes({ "GET /lamps": app }) });

a query that is not escaped | RangeError: " " is not allowed; a URI has visible ASCII except #; buildUri
- await client.request("GET", "/find?name=a b");
+ await client.request("GET", buildUri(["find"], { name: "a b" }));

a query for buildUri that is not escaped | RangeError: buildUri(path, parameters) escapes paths and parameters
- buildUri(["find"], "name=a b");
+ buildUri(["find"], { name: "a b" });
`),

  // ───────────────────────── properties as in Python, and methods without their object

  ...parseWrongPrograms(`
the verification of a server as in Python | 'verify_mode' does not exist on type 'ClientSslctx'
- new SSLClient({}, address).sslctx.verify_mode;
+ new SSLClient({}, address).sslctx.verify satisfies true;

the version of TLS as in Python | 'protocol' does not exist on type 'ClientSslctx'
- new SSLClient({}, address).sslctx.protocol;
+ new SSLClient({}, address).sslctx.minVersion satisfies "TLSv1.2";

a method of a client without the client | TypeError: Cannot read properties of undefined
- const { request } = client;
- await request("GET", "/");
+ const get = (uri: string) => client.request("GET", uri);
+ await get("/");

a method of an app without the app | TypeError: Cannot read properties of undefined
- class Counter {
-   #count = 0;
-   handle() {
-     return reply(200, \`\${++this.#count}\`);
-   }
- }
- const { handle } = new Counter();
- await callApp(handle, mkreq("GET", "/"));
+ class Counter {
+   #count = 0;
+   handle() {
+     return reply(200, \`\${++this.#count}\`);
+   }
+ }
+ await callApp(new Counter(), mkreq("GET", "/"));
`),
];

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
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
  "a client of one's own that passes on the arguments of its base class": `
class CountingClient extends Client {
  count = 0;
  override request(...args: Parameters<Client["request"]>) {
    this.count++;
    return super.request(...args);
  }
}
new CountingClient(address).get("/");
`,
  "the request of a route for functions that take a request": `
const name = (request: degu.Request) => request.path.join("/");
const changes: Parameters<degu.Request["with"]>[0] = { path: ["a"] as const, mount: request.mount };
routes({
  "GET /{id}": (request) => reply(200, name(request)),
  "PUT /{id}": (request, session, api) => reply(200, name(request.with(changes))),
});
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
  "handlers for Deno.serve": `
const handler: Deno.ServeHandler = async (request, { remoteAddr, completed }) => {
  completed.then(() => console.log("sent"), console.error);
  return Response.json([remoteAddr.transport, await request.text()]);
};
const program = { fetch: handler, onListen: () => {} } satisfies Deno.ServeDefaultExport;
new Server(address, fromFetchHandler(handler));
new Server(address, fromFetchHandler(program));
new Server(address, fromFetchHandler(async (_request, { completed }) => {
  const sent: Promise<void> = completed;
  return new Response("hello");
}));
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
  "values as JSON": `
interface Lamp {
  readonly on: boolean;
}
const lamps = new Map<string, Lamp>();
const anything: any = 1, unknown: unknown = 1;
json(lamps.has("a") ? lamps.get("a") : null);
json(anything);
json(unknown);
json(404);
json(new Date());
json({ a: undefined, b: [1, "c"], stat: await Deno.stat("/") });
json(flag ? "a" : 5, flag ? 201 : undefined);
json({}, undefined, { etag: "a" });
const send = <T>(value: T) => json(value);
send([unknown]);
const respond = <T extends BodyOut>(body: T) => reply(200, body);
const textOrNone = (text: string | null) => reply(200, text);
json([1, [2]] as readonly unknown[], ...[201, { a: "b" }] as const);
[1, 2].map((value) => json(value));
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
};
