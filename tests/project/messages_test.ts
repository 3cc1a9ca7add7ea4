/** The error messages of frequent mistakes give advice. */
import { assertEquals, assertMatch } from "@std/assert";
import {
  type Address,
  Client,
  ContentRange,
  ProxyApp,
  publicKey256,
  Range,
  reply,
  Response,
  routes,
  Server,
} from "@degu/degu";
import { type BodyOut, describeArgumentError } from "@degu/degu/base";
import { type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { Device } from "@degu/device";
import { FilesApp } from "@degu/files";
import { callApp, mkreq, TempPKI } from "@degu/degu/misc";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection, constructWith } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeUntypedApp, serve } from "@degu/testing/serving.ts";

Deno.test("the error of a frequent mistake says what to do", async (t) => {
  await using pki = await TempPKI.create();
  await using serving = serve(routes({
    "GET /a": () => reply(200, "hello"),
    "POST /a": () => reply(200),
  }));
  const client = serving.makeClient();
  const rows: [rule: string, call: () => Promise<unknown>, said: RegExp][] = [
    [
      "a number as body",
      () => client.request("POST", "/a", {}, 5 as unknown as BodyOut),
      /^TypeError: body: must be .*; got number$/,
    ],
    [
      "data in the place of headers",
      // @ts-expect-error A program without a type check.
      () => client.request("POST", "/a", { name: "anna" }),
      /^TypeError: body: must be given after the headers of a POST request: the data, or null for none; got undefined$/,
    ],
    [
      "a request with GET and a body",
      // @ts-ignore A program without a type check.
      () => client.request("GET", "/a", {}, '{"a":1}'),
      /^RangeError: body: must be null if the method is GET, since only PUT and POST have a body; buildUri\(path, parameters\) puts parameters in the URI$/,
    ],
    [
      "a Response with headers that are null",
      () => Promise.resolve().then(() => constructWith(Response, 200, "OK", null, null)),
      /^TypeError: headers: must be a plain object; got null$/,
    ],
    [
      "a Response as fetch has it",
      () => Promise.resolve().then(() => constructWith(Response, "hello", { status: 404 })),
      /^TypeError: headers: must be a plain object; got undefined$/,
    ],
    [
      "an answer with headers that are null",
      () => callApp(makeUntypedApp(() => [200, "OK", null, null]), mkreq("GET", "/")),
      /^TypeError: response\.headers: must be a plain object; got null$/,
    ],
    [
      "a header name with capitals",
      () => client.request("GET", "/a", { "Content-Type": "text/plain" }),
      /^RangeError: headers\["Content-Type"\]: .*; write it in lower case: "content-type"$/,
    ],
    [
      "a header name that is none",
      () => client.request("GET", "/a", { "Content Type": "text/plain" }),
      /^RangeError: headers\["Content Type"\]: the name must be .* characters a-z, 0-9 and .* ~$/,
    ],
    [
      "a directory that is missing",
      async () => await Promise.resolve().then(() => new FilesApp("none/here")),
      /^NotFound: dir: there is no directory ".*\/none\/here"; make it first \(create: true does\), or mount its disk$/,
    ],
    [
      "a request before the body of the response was read",
      async () => {
        using conn = await client.connect();
        await conn.get("/a");
        await conn.get("/a");
      },
      /^BodyError: the body of the previous response .*: read it, or call discard\(\) of the response$/,
    ],
    [
      "a server at a name",
      async () =>
        await Promise.resolve().then(() => new Server(["localhost", 0], () => reply(200))),
      /^RangeError: address\[0\]: .*; got "localhost"; write "127\.0\.0\.1" or "::1"$/,
    ],
    [
      "a proxy to a text",
      // @ts-expect-error A program without a type check.
      async () => await Promise.resolve().then(() => new ProxyApp("http://127.0.0.1")),
      /^TypeError: client: must be a Client or a Connection, as in new Client\(\["127\.0\.0\.1", 8080\]\); got string$/,
    ],
    [
      "an object as body",
      // @ts-expect-error A program without a type check.
      () => client.request("POST", "/a", {}, { name: "anna" }),
      /^TypeError: body: must be .*; got Object: send JSON\.stringify\(value\); an app returns json\(value\)$/,
    ],
    [
      "TLS to a plain server",
      () => new SSLClient(pki.clientSslconfig, serving.address).connect(),
      /^TlsError: .*: the peer closed the connection; perhaps the server doesn't use TLS$/,
    ],
  ];
  await testEachRow(t, rows, async (rule, call, expectedMessage) => {
    const error = await catchRejection(call(), rule);
    assertMatch(String(error), expectedMessage);
  });
});

Deno.test("the error of an invalid argument has its name as a property", async () => {
  await using pki = await TempPKI.create();
  await using emptyDir = await createTempDir();
  await using dir = await createTempDir();
  await using device = await Device.open(`${dir.path}/device`, { name: "device" });
  const { clientSslconfig: config, serverSslconfig: serverConfig } = pki;
  const address: Address = ["127.0.0.1", 80];
  const client = new Client(address);
  const connectTo = (sslconfig: object) => () =>
    new SSLClient({ ...config, ...sslconfig } as ClientSslconfig, address);
  const text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const rows: [argument: string, call: () => unknown][] = [
    ['headers["host"]', () => new Client(address, { headers: { host: "a" } })],
    ['headers["range"]', () => new Client(address, { headers: { range: new Range(0, 1) } })],
    ['headers["range"]', () => client.getRange("/", { range: new Range(0, 1) }, 0, 2)],
    ["start, stop", () => new Range(2, 1)],
    ["start, stop, total", () => new ContentRange(0, 2, 1)],
    ["pem", () => publicKey256("none")],
    ["ca, caFile", connectTo({ ca: text })],
    ["keyFile", connectTo({ keyFile: serverConfig.keyFile })],
    ["keyFile", connectTo({ keyFile: config.certFile })],
    ["certFile", connectTo({ certFile: config.keyFile })],
    ["caFile", connectTo({ caFile: config.keyFile })],
    ["caFile", connectTo({ caFile: config.certFile })],
    ["ca", connectTo({ caFile: undefined, ca: text })],
    ["caPath", connectTo({ caFile: undefined, caPath: emptyDir.path })],
    ["listen[1][0]", () => device.invite({ listen: [address, ["name", 80]] })],
    ["listen[1][1]", () => device.invite({ listen: [address, ["127.0.0.1", 65536]] })],
  ];
  for (const [argument, call] of rows) {
    const error = await catchRejection(Promise.resolve().then(call), argument);
    assertEquals(describeArgumentError(error)?.argument, argument, String(error));
    assertMatch(String(error), /^(Range|Type)Error: /);
  }
});
