/** Credentials that a client sends appear neither in inspected objects nor in errors. */
import { inspect } from "node:util";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ProtocolError } from "@degu/degu/base";
import { Client, type ClientOptions, Connection, SSLClient } from "@degu/degu/client";
import { parseHeaders } from "@degu/degu/misc";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const SECRET = "Basic c2VjcmV0";
const options: ClientOptions = { authorization: SECRET, timeout: 5 };

/** Everything that can be seen of a value by printing it. */
function printed(value: unknown): string {
  const deep = { depth: Infinity, showHidden: true };
  return [
    Deno.inspect(value, deep),
    Deno.inspect([{ value }], deep),
    inspect(value, deep),
    inspect({ value }),
  ].join("\n");
}

Deno.test("a client and its options are inspected without authorization", () => {
  const clients = [
    new Client(["127.0.0.1", 8080], options),
    new SSLClient({}, ["127.0.0.1", 8080], options),
  ];
  for (const client of clients) {
    assertEquals(client.options.authorization, SECRET);
    assertEquals({ ...client.options }, options);
    for (const text of [printed(client), printed(client.options)]) {
      assert(!text.includes("c2VjcmV0"), text);
      assertStringIncludes(text, "authorization");
      assertStringIncludes(text, "timeout");
    }
    assertStringIncludes(Deno.inspect(client), "127.0.0.1:8080");
  }
  assertEquals(
    Deno.inspect(new Client(["127.0.0.1", 80], { timeout: 5 })),
    'Client(address=[ "127.0.0.1", 80 ], host="127.0.0.1", timeout=5, options={ timeout: 5 })',
  );
  assertStringIncludes(Deno.inspect(clients[1]), 'SSLClient(address=[ "127.0.0.1", 8080 ]');
  assertStringIncludes(Deno.inspect(clients[1]), 'sslHost="127.0.0.1"');
});

Deno.test("a connection and its base headers are inspected without authorization", async () => {
  using ends = await connect({ ...options, host: "example.com" });
  const { conn } = ends;
  assertEquals(conn.baseHeaders, { authorization: SECRET, host: "example.com" });
  for (const text of [printed(conn), printed(conn.baseHeaders)]) {
    assert(!text.includes("c2VjcmV0"), text);
    assertStringIncludes(text, "authorization");
    assertStringIncludes(text, "example.com");
  }
  const headers = { "authorization": SECRET, "cookie": SECRET, "proxy-authorization": SECRET };
  using own = new Connection(new RecordingSocket(), { ...headers, "user-agent": "example" });
  assert(!printed(own).includes("c2VjcmV0"), printed(own));
  assertStringIncludes(printed(own), "example");
});

Deno.test("secret headers of a client are hidden in what is printed", async () => {
  const headers = { "cookie": SECRET, "proxy-authorization": SECRET, "x-kind": "camera" };
  const given: ClientOptions = { ...options, headers };
  const client = new Client(["127.0.0.1", 8080], given);
  assertEquals(client.options.headers, headers);
  const { options: { headers: kept } } = client;
  using ends = await connect(given);
  for (const value of [client, client.options, kept, { ...client.options }.headers, ends.conn]) {
    const text = printed(value);
    assert(!text.includes("c2VjcmV0"), text);
    assertStringIncludes(text, "proxy-authorization");
    assertStringIncludes(text, "camera");
  }
  for (const name of ["cookie", "proxy-authorization"]) {
    const bad = { headers: { [name]: `${SECRET}\n` } };
    const error = thrownBy(() => new Client(["127.0.0.1", 80], bad), name);
    assert(error instanceof RangeError);
    assert(!printed(error).includes("c2VjcmV0"), error.message);
  }
});

Deno.test("an invalid credential of a request or a connection is not quoted", async (t) => {
  for (const name of ["authorization", "proxy-authorization", "cookie"]) {
    await t.step(name, async () => {
      const bad = { [name]: `${SECRET}\n` };
      using ends = await connect();
      using own = new Connection(new RecordingSocket(), bad);
      const errors = [
        await rejectionOf(ends.conn.get("/", bad), name),
        await rejectionOf(ends.conn.getRange("/", bad, 0, 1), name),
        await rejectionOf(own.get("/"), name),
      ];
      for (const error of errors) {
        assert(error instanceof RangeError);
        assert(!printed(error).includes("c2VjcmV0"), error.message);
        assertStringIncludes(error.message, `"${name}"`);
      }
    });
  }
});

Deno.test("an invalid credential from a peer is not quoted", async () => {
  const lines = [
    `Authorization: ${SECRET}\t`,
    `authorization:${SECRET}`,
    `AUTHORIZATION:${SECRET}: x`,
    `Authorization : ${SECRET}`,
    `cookie: ${SECRET}{`,
    `proxy-authorization: ${SECRET}\x7f`,
  ];
  for (const line of lines) {
    const error = thrownBy(() => parseHeaders(latin1(line)), line);
    assert(error instanceof ProtocolError);
    assert(!error.message.includes("c2VjcmV0"), error.message);
    await using serving = serve(() => [200, "OK", {}, null]);
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`GET / HTTP/1.1\r\n${line}\r\n\r\n`);
    const [message = ""] = await serving.logger.waitFor("info");
    assert(!message.includes("c2VjcmV0"), message);
  }
});

Deno.test("a server's log never shows a secret, whatever is wrong next to it", async (t) => {
  const broken: Readonly<Record<string, string>> = {
    "a folded line": "GET / HTTP/1.1\r\nauthorization: Basic\r\n c2VjcmV0\r\n\r\n",
    "a bare line feed": `GET / HTTP/1.1\r\nx: 1\nauthorization: ${SECRET}\r\n\r\n`,
    "no colon": `GET / HTTP/1.1\r\nauthorization ${SECRET}\r\n\r\n`,
    "a user in the target": "GET http://user:c2VjcmV0@host/ HTTP/1.1\r\n\r\n",
    "a length that is too small":
      `PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\nauthorization: ${SECRET}\r\n\r\n`,
  };
  for (const [what, request] of Object.entries(broken)) {
    await t.step(what, async () => {
      await using serving = serve(() => [200, "OK", {}, null]);
      using peer = await RawPeer.connect(serving.address);
      await peer.send(request);
      await peer.readToEnd();
      const [message = ""] = await serving.logger.waitFor("info");
      assert(!message.includes("c2VjcmV0"), message);
    });
  }
});

Deno.test("a URL with a password in place of a URI is not quoted", async () => {
  using conn = new Connection(new RecordingSocket(), null);
  const error = await rejectionOf(conn.get("http://user:c2VjcmV0@host/"), "the request");
  assert(!String(error).includes("c2VjcmV0"), String(error));
});

Deno.test("requests and responses are inspected without secrets", async () => {
  const shown: string[] = [];
  await using serving = serve((request) => {
    shown.push(printed(request));
    return [200, "OK", { "set-cookie": "c2VjcmV0", "hello": "world" }, null];
  });
  const response = await serving.makeClient({ authorization: SECRET }).request("GET", "/");
  assertEquals(response.headers["set-cookie"], "c2VjcmV0");
  for (const text of [...shown, printed(response)]) assert(!text.includes("c2VjcmV0"), text);
  assertStringIncludes(printed(response), "world");
});
