/** Programs with headers, bodies, and other arguments of requests and responses. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a number as the value of a header | TypeError: headers["x-count"]: must be a string; got
- await client.request("GET", "/", { "x-count": 5 });
+ await client.request("GET", "/", { "x-count": "5" });

a number as the value of a header of a response | TypeError: response.headers["retry-after"]: must be a string; got
- await callApp(() => reply(200, "a", { "retry-after": 5 }), mkreq("GET", "/"));
+ await callApp(() => reply(200, "a", { "retry-after": "5" }), mkreq("GET", "/"));

an upper-case name of a header of a response | RangeError: write it in lower case: "cache-control"
- await callApp(() => reply(200, "a", { "Cache-Control": "no-store" }), mkreq("GET", "/"));
+ await callApp(() => reply(200, "a", { "cache-control": "no-store" }), mkreq("GET", "/"));

an upper-case name of a header of a client | RangeError: write it in lower case: "user-agent"
- new Client(server.address, { headers: { "User-Agent": "camera" } });
+ new Client(server.address, { headers: { "user-agent": "camera" } });

a length as text | Type 'string' is not assignable to type 'number'
- client.request("PUT", "/", { "content-length": "5" }, "hello");
+ client.request("PUT", "/", { "content-length": 5 }, "hello");

a length as text, in a response | Type 'string' is not assignable to type 'number'
- reply(200, "hello", { "content-length": "5" });
+ reply(200, "hello", { "content-length": 5 });

a range as an object | not assignable to type 'string | Range | SuffixRange
- client.get("/", { range: { start: 0, stop: 5 } });
+ client.get("/", { range: new Range(0, 5) });

a range as a number, of a function with headers | Type 'number' is not assignable to type 'string | Range | SuffixRange
- const headers: HeadersToSend = { range: 5 };
+ const headers: HeadersToSend = { range: new SuffixRange(5) };

a range of bytes as text | TypeError: headers["range"]: must be a Range or a SuffixRange; got string
- await client.get("/", { range: "bytes=0-4" });
+ await client.get("/", { range: new Range(0, 5) });

the start of a received range that may have another unit | Property 'start' does not exist on type 'string'
- request.headers.range?.start;
+ request.headers.range instanceof Range ? request.headers.range.start : 0;

the total of a received range that may have another unit | Property 'total' does not exist on type 'string'
- response.headers["content-range"]?.total;
+ response.headers["content-range"] instanceof ContentRange ? response.headers["content-range"].total : null;

the range of a request in a response | not assignable to type
- new Server(address, () => [206, "Partial Content", { "content-range": new Range(0, 5) }, "a"]);
+ new Server(
+   address,
+   () => [206, "Partial Content", { "content-range": new ContentRange(0, 5, null) }, "a"],
+ );

received cookies as text | Property 'split' does not exist on type 'string[]'
- response.headers["set-cookie"]?.split(";");
+ response.headers["set-cookie"]?.map((cookie) => cookie.split(";"));

several lines of another header | Type 'string[]' is not assignable
- const headers: HeadersToSend & { vary?: string } = { vary: ["a", "b"] };
+ const headers: HeadersToSend & { vary?: string } = { vary: "a, b", "set-cookie": ["c=d", "e=f"] };

a received header by a name with capitals | Property 'startsWith' does not exist on type 'never'
- response.headers["Content-Type"]?.startsWith("text/");
+ response.headers["content-type"]?.startsWith("text/");

a header of a request by a name with capitals | Property 'toUpperCase' does not exist on type 'never'
- reply(200, request.headers["User-Agent"]?.toUpperCase());
+ reply(200, request.headers["user-agent"]?.toUpperCase() ?? "none");

a header of an app's own by a name with capitals | TS2532
- response.headers["X-Lamps"].split(",");
+ response.headers["x-lamps"]?.split(",");

a header of an app's own by a name with a capital, as text | Type 'undefined' is not assignable to type 'string'
- const key: string = request.headers["Api-key"] ?? request.headers["X-API-KEY"];
+ const key: string = request.headers["api-key"] ?? request.headers["x-api-key"] ?? "";

a header of a client that is left out by null | Type 'null' is not assignable
- client.get("/", { "user-agent": null });
+ client.get("/", { "user-agent": undefined });

a header that is left out by null | TypeError: headers["accept"]: must be a string; got null
- await new Client(server.address, { headers: { accept: "a" } }).get("/", { accept: null as never });
+ await new Client(server.address, { headers: { accept: "a" } }).get("/", { accept: undefined });

the host among the headers of a client | RangeError: must be given as the option host
- new Client(server.address, { headers: { host: "camera.local" } });
+ new Client(server.address, { host: "camera.local" });

the authorization among the headers of a client | RangeError: must be given as the option authorization
- new Client(server.address, { headers: { authorization: "Bearer a" } });
+ new Client(server.address, { authorization: "Bearer a" });

a GET with a body | Argument of type '"hello"' is not assignable to parameter of type 'null
- client.request("GET", "/", {}, "hello");
+ client.request("POST", "/", {}, "hello");

a DELETE of a connection with a body | Argument of type 'string' is not assignable to parameter of type 'null
- conn.request("DELETE", "/", {}, JSON.stringify({ a: 1 }));
+ conn.request("POST", "/", {}, JSON.stringify({ a: 1 }));

a HEAD of a pool with a body | is not assignable to parameter of type 'null
- new ConnectionPool(client).request("HEAD", "/", {}, bytes);
+ new ConnectionPool(client).request("PUT", "/", {}, bytes);

a form as body | Type 'FormData' is not assignable to type 'BodyOut'
- const form = new FormData();
- client.post("/", {}, form);
+ const form = new URLSearchParams();
+ client.post("/", {}, form);

numbers of two bytes as body | 'Uint16Array<ArrayBuffer>' is not assignable
- reply(200, new Uint16Array(4));
+ reply(200, new Uint16Array(4).buffer);

the bytes of a Blob without await | Type 'Promise<ArrayBuffer>' is not assignable to type 'BodyOut'
- client.put("/", {}, new Blob(["a"]).arrayBuffer());
+ client.put("/", {}, new Blob(["a"]));

a SharedArrayBuffer without a view | Type 'SharedArrayBuffer' is not assignable to type 'BodyOut'
- client.put("/", {}, new SharedArrayBuffer(4));
+ client.put("/", {}, new Uint8Array(new SharedArrayBuffer(4)));

the body of a Response of the platform, which may be null | ReadableStreamDefaultReader
- new Server(address, async () => reply(200, (await fetch("http://127.0.0.1")).body!.getReader()));
+ new Server(address, async () => reply(200, await (await fetch("http://127.0.0.1")).blob()));

a Blob whose type is no header value | RangeError: body: its type "text/x " can't be the value of a header
- await client.put("/", {}, new Blob(["a"], { type: "text/x " }));
+ await client.put("/", { "content-type": "text/x" }, new Blob(["a"], { type: "text/x " }));

an ArrayBuffer that was transferred | TypeError: body: must be an ArrayBuffer with its memory
- const buffer = new ArrayBuffer(4);
- structuredClone(buffer, { transfer: [buffer] });
- await client.put("/", {}, buffer);
+ const buffer = new ArrayBuffer(4);
+ const copy = structuredClone(buffer, { transfer: [buffer] });
+ await client.put("/", {}, copy);

a post() of data without headers | TS2345
- client.post("/lamps", { name: "lamp" });
+ client.post("/lamps", {}, JSON.stringify({ name: "lamp" }));

a put() of data without headers, over a pool | TS2345
- new ConnectionPool(client).put("/lamps", { name: "lamp" });
+ new ConnectionPool(client).put("/lamps", { "x-name": "lamp" }, null);

a get() with a body | has no properties in common with type 'RequestOptions'
- client.get("/", {}, "hello");
+ client.post("/", {}, "hello");

a method that is a GET at run time, with a body | RangeError: body: must be null if the method is GET
- const method: Method = JSON.parse('"GET"');
- await client.request(method, "/", {}, "hello");
+ const method: Method = JSON.parse('"GET"');
+ await client.request(method, "/", {}, method === "PUT" ? "hello" : null);

an absolute URI | RangeError: uri: bad URI "http://127.0.0.1:8080/lamps": it must begin with "/"
- await client.request("GET", "http://127.0.0.1:8080/lamps");
+ await client.request("GET", "/lamps");

a URI without its slash | RangeError: uri: bad URI "lamps": it must begin with "/"
- await client.get("lamps");
+ await client.get("/lamps");

an address as a text with a port | RangeError: a host is given with its port, as in ["127.0.0.1", 8080]
- new Client("127.0.0.1:80");
+ new Client(["127.0.0.1", 80]);

an address of a server as a text with a port | RangeError: a host is given with its port, as in ["127.0.0.1", 8080]
- new Server("127.0.0.1:80", app);
+ new Server(["127.0.0.1", 80], app);

milliseconds for seconds | RangeError: timeout: must be a number of seconds above 0 and at most 3600
- new Client(server.address, { timeout: 30_000 });
+ new Client(server.address, { timeout: 30 });

milliseconds for seconds of a server | RangeError: timeout: must be a number of seconds above 0 and at most 3600
- new Server(["127.0.0.1", 0], app, { timeout: 5000 });
+ new Server(["127.0.0.1", 0], app, { timeout: 5 });

milliseconds for seconds between retries | RangeError: seconds: must be a number from 0 to 60
- await retry(() => client.get("/"), { seconds: 500 });
+ await retry(() => client.get("/"), { seconds: 0.5 });
`);

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
  "post and put with headers and a body, without both, and of a subclass": `
class Signing extends Client {
  override post(
    uri: string, headers: HeadersToSend = {}, body: BodyOut = null, options?: degu.RequestOptions,
  ) {
    return super.post(uri, { ...headers, "x-signature": uri }, body, options);
  }
}
const own = new Signing(server.address);
own.post("/");
own.post("/", {}, "a", { signal });
client.put("/");
client.put("/", { "content-type": "text/plain" }, null);
const rest: [HeadersToSend, BodyOut] = [{}, "a"];
conn.post("/", ...rest);`,
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
  "bodies of requests whose method is known later": `
const method: Method = JSON.parse('"GET"');
const body: BodyOut = flag ? "a" : null;
client.request(method, "/", {}, body);
client.request(flag ? "PUT" : "POST", "/", {}, body);
client.request(flag ? "PUT" : "GET", "/", {}, body);
client.request("GET", "/", {}, null, { signal });
client.request("DELETE", "/");
conn.request("HEAD", "/", {}, null);
class Counted extends Client {
  count = 0;
  override request(
    method: Method,
    uri: string,
    headers?: HeadersToSend,
    body?: BodyOut,
    options?: degu.RequestOptions,
  ) {
    this.count++;
    return super.request(method, uri, headers, body, options);
  }
}
const requester: Requester = new Counted(address);
`,
};
