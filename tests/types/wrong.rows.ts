/** Programs that don't compile, or fail, each with the intended program. */

import { parseWrongPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = [
  // Everyday mistakes of people who know `fetch`, Hono, Express, `node:http` or Go.

  ...parseWrongPrograms(`
headers as in fetch | TS2349
- response.headers.get("content-type");
+ response.headers["content-type"];

assigning to a received header | only permits reading
- request.headers["x-new"] = "a";
+ ({ ...request.headers, "x-new": "a" }) satisfies HeadersToSend;

the init of fetch in place of headers and body | Source has 1 element(s) but target requires 2
- client.request("POST", "/", { headers: { a: "b" }, body: "c" });
+ client.request("POST", "/", { a: "b" }, "c");

options in the place of headers | AbortSignal
- conn.get("/", { signal });
+ conn.get("/", {}, { signal });

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

a URL as address | RangeError: path
- new Client("http://127.0.0.1:80");
+ new Client(["127.0.0.1", 80]);

the Response of the platform as answer | '() => Response'
- new Server(address, () => new Response("hello"));
+ new Server(address, fromFetchHandler(() => new Response("hello")));

two strings that are swapped | RangeError: /home/me/photos
- await downloadTree(client, "/home/me/photos", "/photos/");
+ await downloadTree(client, "/photos/", "/home/me/photos");
`),

  // Requests, responses and routes.

  ...parseWrongPrograms(`
data in the place of headers, by a Requester | TypeError: body: must be given after the headers of a POST request
- const requester: Requester = client;
- await requester.request("POST", "/", { name: "anna" });
+ const requester: Requester = client;
+ await requester.request("POST", "/", {}, "anna");

a body that a look-up lacks, of a request | 'undefined' is not assignable
- client.request("PUT", "/", {}, new Map([["a", "x"]]).get("b"));
+ client.request("PUT", "/", {}, new Map([["a", "x"]]).get("b") ?? null);

an object as body of a reply | is not assignable
- reply(200, { name: "anna" });
+ json({ name: "anna" });

a parameter as in Express | write {name} in place of :name
- routes({ "GET /user/:id": () => reply(200) });
+ routes({ "GET /user/{id}": ({ parameters: { id } }) => reply(200, id) });

a status that no response can have | '100' is not assignable to parameter of type 'never'
- reply(100);
+ reply(200);

a body with a status that allows no body | '"x"' is not assignable to type 'null'
- reply(204, "x");
+ reply(204);

an answer as an object without a reason | Property 'reason' is missing
- new Server(address, () => ({ status: 200, headers: {}, body: null }));
+ new Server(address, () => ({ status: 200, reason: "OK", headers: {}, body: null }));

a parameter of another name | Property 'name' does not exist
- routes({ "GET /user/{id}": ({ parameters }) => reply(200, parameters.name) });
+ routes({ "GET /user/{id}": ({ parameters }) => reply(200, parameters.id) });

a parameter that may be missing, in an app for any route | 'parameters.name' is possibly 'undefined'
- const show: App = ({ parameters }) => reply(200, parameters.name.toUpperCase());
+ const show: App = ({ parameters }) => reply(200, parameters.name?.toUpperCase() ?? null);

a value of a request without a check | 'unknown' is not assignable to type 'string'
- const name: string = request.store.get("user");
+ const name = String(request.store.get("user") ?? "nobody");

a JSON body without a check | 'unknown' is not assignable to type '{ on: boolean; }'
- const lamp: { on: boolean } = await response.json();
+ const lamp: { on: boolean } = await response.json<{ on: boolean }>();

a copy of a request by its fields | is missing the following properties from type 'Request'
- wrapApp(app, (next, request) => next({ ...request, headers: {} }));
+ wrapApp(app, (next, request) => next(request.with({ headers: {} })));
`),

  // Headers, bodies, and other arguments.

  ...parseWrongPrograms(`
an upper-case name of a header of a client | '"error: write the name in lower case"'
- new Client(server.address, { headers: { "User-Agent": "camera" } });
+ new Client(server.address, { headers: { "user-agent": "camera" } });

an upper-case name of a header of a request | '"error: write the name in lower case"'
- client.put("/", { "Content-Type": "text/plain" }, "hello");
+ client.put("/", { "content-type": "text/plain" }, "hello");

an upper-case name of a header of a response | '"error: write the name in lower case"'
- const show: App = () => [200, "OK", { "Content-Type": "text/plain" }, "hello"];
+ const show: App = () => [200, "OK", { "content-type": "text/plain" }, "hello"];

an upper-case name of a header of reply | '"error: write the name in lower case"'
- reply(201, null, { ...request.headers, Location: "/lamp" });
+ reply(201, null, { ...request.headers, location: "/lamp" });

an upper-case name of an own header | RangeError: write it in lower case: "x-lamp"
- new Client(server.address, { headers: { "X-Lamp": "on" } });
+ new Client(server.address, { headers: { "x-lamp": "on" } });

a received header by a name with capitals | Property 'startsWith' does not exist on type 'never'
- response.headers["Content-Type"]?.startsWith("text/");
+ response.headers["content-type"]?.startsWith("text/");

the host among the headers of a client | RangeError: must be given as the option host
- new Client(server.address, { headers: { host: "camera.local" } });
+ new Client(server.address, { host: "camera.local" });

a GET with a body | Argument of type '"hello"' is not assignable to parameter of type 'null
- client.request("GET", "/", {}, "hello");
+ client.request("POST", "/", {}, "hello");

a method that is a GET at run time, with a body | RangeError: if the method is GET, since only PUT, POST and PATCH have a body; buildUri(path, parameters) puts parameters in the URI
- const method: Method = JSON.parse('"GET"');
- await client.request(method, "/", {}, "hello");
+ const method: Method = JSON.parse('"GET"');
+ await client.request(method, "/", {}, method === "PUT" ? "hello" : null);

a server at a name | RangeError: got "localhost"; write "127.0.0.1" or "::1"
- new Server(["localhost", 0], app);
+ new Server(["127.0.0.1", 0], app);

a directory that is missing | NotFound: make it first (create: true does), or mount its disk
- new FilesApp("/tmp/degu-none/here");
+ new FilesApp("/tmp", { create: true });

an address as a text with a port | RangeError: a host is given with its port, as in ["127.0.0.1", 8080]
- new Client("127.0.0.1:80");
+ new Client(["127.0.0.1", 80]);

milliseconds for seconds | RangeError: timeout: must be a number of seconds above 0 and at most 3600
- new Client(server.address, { timeout: 30_000 });
+ new Client(server.address, { timeout: 30 });

milliseconds for seconds between retries | RangeError: seconds: must be a number from 0 to 60
- await retry(() => client.get("/"), { seconds: 500 });
+ await retry(() => client.get("/"), { seconds: 0.5 });

a length as text | Type 'string' is not assignable to type 'number'
- client.request("PUT", "/", { "content-length": "5" }, "hello");
+ client.request("PUT", "/", { "content-length": 5 }, "hello");

the start of a received range that may have another unit | Property 'start' does not exist on type 'string'
- request.headers.range?.start;
+ request.headers.range instanceof Range ? request.headers.range.start : 0;

received cookies as text | Property 'split' does not exist on type 'string[]'
- response.headers["set-cookie"]?.split(";");
+ response.headers["set-cookie"]?.map((cookie) => cookie.split(";"));

several lines of another header | Type 'string[]' is not assignable
- const headers: HeadersToSend & { vary?: string } = { vary: ["a", "b"] };
+ const headers: HeadersToSend & { vary?: string } = { vary: "a, b", "set-cookie": ["c=d", "e=f"] };

a DELETE of a connection with a body | Argument of type 'string' is not assignable to parameter of type 'null
- conn.request("DELETE", "/", {}, JSON.stringify({ a: 1 }));
+ conn.request("POST", "/", {}, JSON.stringify({ a: 1 }));
`),

  // Programs that compile, and fail with an error that names the cause and the remedy.

  ...parseWrongPrograms(`
JSON of an empty response | SyntaxError: the body of the response 204 "No Content" is empty; check the status first
- await using serving = await Server.start(["127.0.0.1", 0], () => reply(204));
- await (await new Client(serving.address).get("/")).json();
+ const created: unknown = await (await expectOk(client.get("/"))).json();

JSON of an error that is a text | SyntaxError: the body of the response 404 "Not Found" is not JSON: Unexpected token
- await using serving = await Server.start(["127.0.0.1", 0], () => reply(404, "no such lamp"));
- await (await new Client(serving.address).get("/")).json();
+ const lamps: unknown = await (await expectOk(client.get("/"))).json();

the address of a server before it is ready | RangeError: got 0: await the \`ready\` of the server
- await using pki = await TempPKI.create();
- await using serving = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app);
- new SSLClient(pki.clientSslconfig, serving.address);
+ await using serving = await SSLServer.start(anyPki.serverSslconfig, ["127.0.0.1", 0], app);

a loop over read() that waits for null | BodyError: at the end, a read returns no bytes (and not null)
- const { body } = await client.get("/");
- while (await (body as Body).read(100) !== null);
+ const response = await client.get("/");
+ for await (const piece of response.body as Body) console.log(piece);

a file that using has closed | BodyError: the file of the body was closed before its end
- const open = async () => {
-   using file = await Deno.open(import.meta.filename!);
-   return new Body(file, 10);
- };
- await client.request("POST", "/", {}, await open());
+ await client.request("POST", "/", {}, await Body.fromFile("/tmp/a"));

a body that using has disposed of | BodyError: body: was canceled or disposed of; make a new one
- const open = async () => {
-   await using body = await Body.fromFile(import.meta.filename!);
-   return body;
- };
- await client.request("POST", "/", {}, await open());
+ await using body = await Body.fromFile("/tmp/a");
+ await client.request("POST", "/", {}, body);

a reader besides the connection | ProtocolError: no other code may read from the connection
- using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
- const answer = async () => {
-   using conn = await listener.accept();
-   await conn.read(new Uint8Array(1000));
-   await conn.write(new TextEncoder().encode("00 OK\\r\\ncontent-length: 0\\r\\n\\r\\n"));
-   await conn.read(new Uint8Array(1));
- };
- const answered = answer().catch(() => {});
- await new Client(["127.0.0.1", listener.addr.port]).get("/").finally(() => answered);
+ await using serving = await Server.start(["127.0.0.1", 0], app);
`),

  // Errors, and objects that the package makes.

  ...parseWrongPrograms(`
a StatusError that an app throws | Expected 1 arguments
- new Server(address, () => {
-   throw new StatusError("no such lamp", { status: 404 });
- });
+ new Server(address, () => reply(404, "no such lamp"));

a Session that a program constructs, without types | TypeError: use callApp()
- Reflect.construct(degu.Session, ["test", null, 10]);
+ await callApp(app, mkreq("GET", "/"), { session: { address: null } });

a code of another class | no overlap
- (error as TlsError).code === "CHUNK_TOO_LARGE";
+ (error as ProtocolError).code === "CHUNK_TOO_LARGE";

a decision on retries that returns a promise | 'Promise<boolean>' is not assignable to type 'boolean'
- retry(() => client.request("GET", "/"), { when: async (error) => isTransient(error) });
+ retry(() => client.request("GET", "/"), { when: (error) => isTransient(error) });

a Request that a program constructs | TS2554
- new degu.Request("GET", "/", {}, null, [], [], null);
+ mkreq("GET", "/");

a wrapped function for another route | TS2322
- routes({
-   "GET /lamp/{id}": wrapApp(
-     ({ parameters }: degu.RouteRequest<"GET /{name}">) => reply(200, parameters.name),
-     (next) => next(),
-   ),
- });
+ routes({
+   "GET /lamp/{name}": wrapApp(
+     ({ parameters }: degu.RouteRequest<"GET /{name}">) => reply(200, parameters.name),
+     (next) => next(),
+   ),
+ });
`),

  // TLS configurations, identities of peers, and sessions.

  ...parseWrongPrograms(`
a certificate as text and as file | 'certFile' are incompatible
- new SSLServer({ cert, certFile, key, caFile }, address, app);
+ new SSLServer({ cert, key, caFile }, address, app);

a server of TLS without trust | Property 'caFile' is missing
- new SSLServer({ certFile, keyFile }, address, app);
+ new SSLServer({ certFile, keyFile, allowUnauthenticatedClients: true }, address, app);

the result of forget as a condition | TS1345
- if (!await device.forget("viewer")) console.log("unknown");
+ await device.forget("viewer");

a step that is made before the trust is known | TS2345
- await session.ifTrusted(Deno.remove("a"));
+ await session.ifTrusted(() => Deno.remove("a"));

the trust as a condition without await | TS2801
- if (session.ifTrusted(() => true)) reply(200);
+ await session.ifTrusted(() => reply(200));

a context without authorities | Property 'caFile' is missing
- (await SSLServer.start(pki.serverSslconfig, address, app)).setSslctx({ certFile, keyFile });
+ (await SSLServer.start(pki.serverSslconfig, address, app)).setSslctx({
+   certFile,
+   keyFile,
+   ca: [],
+ });

a number that is not confirmed | 'boolean | Promise<boolean>'
- device.invite({
-   confirm({ number }) {
-     console.log(number);
-   },
- });
+ device.invite({ confirm: ({ number }) => confirm(number) });

an identity with a misspelled name | Type '{ usr: string; }' is not assignable to type 'boolean | PeerIdentity
- new Server(address, { handle: app, onConnect: () => ({ usr: "viewer" }) });
+ new Server(address, { handle: app, onConnect: () => true });

an identity whose name may be missing | undefined
- new Server(address, {
-   handle: app,
-   onConnect: ({ peerCertificate }) => ({ user: peerCertificate?.publicKey256 }),
- });
+ new Server(address, {
+   handle: app,
+   onConnect: ({ peerCertificate }) =>
+     peerCertificate !== null && { user: peerCertificate.publicKey256 },
+ });

a session whose trust is a value | TS2322
- await callApp(app, mkreq("GET", "/"), { session: { user: "viewer", isTrusted: true } });
+ await callApp(app, mkreq("GET", "/"), { session: { user: "viewer", isTrusted: () => true } });
`),

  // Transfers of files and trees.

  ...parseWrongPrograms(`
a path and a URI that are swapped | NotFound: No such file or directory (os error 2): stat '/tmp/to/1.jpg'
- await upload(client, "/tmp/to/1.jpg", "/tmp/from/1.jpg");
+ await upload(client, "/tmp/from/1.jpg", "/tmp/to/1.jpg");

milliseconds for the seconds of settled | RangeError: settled: must be a number of seconds from 0 to 900; got 3000
- await uploadTree(client, "/tmp/a", [], { move: true, settled: 3000 });
+ await uploadTree(client, "/tmp/a", [], { move: true, settled: 3 });

a filter that returns a promise | TS2322
- await uploadTree(client, "/tmp/a", [], { filter: { file: async ({ name }) => await Promise.resolve(name !== "") } });
+ await uploadTree(client, "/tmp/a", [], { filter: { file: ({ modified }) => modified > new Date(0) } });

the bytes of this call as the progress | Property 'bytes' does not exist on type 'TransferProgress'
- await download(client, "/a", "/tmp/a", { onProgress: ({ bytes, total }) => console.log(bytes / total) });
+ await download(client, "/a", "/tmp/a", { onProgress: ({ done, total }) => console.log(done / total) });

a download that moves | 'move' does not exist in type 'DownloadTreeOptions'
- await downloadTree(client, "/a/", "/tmp/a", { move: true });
+ await downloadTree(client, "/a/", "/tmp/a", { delete: true });
`),
];
