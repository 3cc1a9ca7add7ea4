/** Programs that compile, and fail with an error that names the cause and the remedy. */

import { parseWrongPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
JSON of an empty response | SyntaxError: the body of the response 204 "No Content" is empty; check the status first
- await using serving = await Server.start(["127.0.0.1", 0], () => reply(204));
- await (await new Client(serving.address).get("/")).json();
+ const created: unknown = await (await expectOk(client.get("/"))).json();

JSON of an error that is a text | SyntaxError: the body of the response 404 "Not Found" is not JSON: Unexpected token
- await using serving = await Server.start(["127.0.0.1", 0], () => reply(404, "no such lamp"));
- await (await new Client(serving.address).get("/")).json();
+ const lamps: unknown = await (await expectOk(client.get("/"))).json();

JSON of a body that is empty | SyntaxError: the body is empty
- await (await client.get("/none")).discard();
- await new Body(new Blob([]).stream(), 0).json();
+ await new Body(new Blob(["{}"]).stream(), 2).json();

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

a stream without chunks in a ChunkedBody | ProtocolError: the source of a chunked body has chunks with headers
- await client.request("POST", "/", {}, new degu.ChunkedBody(new Blob(["plain"]).stream()));
+ await client.request("POST", "/", {}, new Blob(["plain"]).stream());

a file that using has closed | BodyError: the file of the body was closed before its end
- const open = async () => {
-   using file = await Deno.open(import.meta.filename!);
-   return new Body(file, 10);
- };
- await client.request("POST", "/", {}, await open());
+ await client.request("POST", "/", {}, await Body.fromFile("/tmp/a"));

the stream of a file that using has closed | BodyError: use Body.fromFile(path)
- const open = async () => {
-   using file = await Deno.open(import.meta.filename!);
-   return file.readable;
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

a function with variables of its module in a TempServer | ReferenceError: the function was sent to a worker as text
- const greeting = "hello";
- await TempServer.start(["127.0.0.1", 0], () => greeting.length > 9 ? null! : app);
+ const greet = (text: string) => () => [200, "OK", {}, text] as const;
+ await using serving = await TempServer.start(["127.0.0.1", 0], greet, "hello");

a reader besides the connection | ProtocolError: no other code may read from the connection
- using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
- const answer = async () => {
-   using conn = await listener.accept();
-   await conn.read(new Uint8Array(1000));
-   await conn.write(new TextEncoder().encode("00 OK\\r\\ncontent-length: 0\\r\\n\\r\\n"));
-   await conn.read(new Uint8Array(1));
- };
- void answer().catch(() => {});
- await new Client(["127.0.0.1", listener.addr.port]).get("/");
+ await using serving = await Server.start(["127.0.0.1", 0], app);
`);
