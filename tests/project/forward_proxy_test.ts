/** The function of docs/cookbook.md that connects through the CONNECT method of a proxy. */
import { type Address, Client, formatAddress, reply } from "@degu/degu";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

type Dial = (
  address: Address,
  limits: { readonly timeout: number | null },
) => Promise<Deno.Conn>;

/** Loads the function from the page, with the port of another proxy. */
async function loadDial(port: number): Promise<Dial> {
  const page = await readProjectFile("docs/cookbook.md");
  const section = page.slice(page.indexOf("\n## Through a forward proxy\n"));
  const [code] = /^async function dial\([^]*?^}$/m.exec(section) ?? [];
  assert(code !== undefined, "docs/cookbook.md has no function dial");
  const proxy = `const proxy = { hostname: "127.0.0.1", port: ${port} };`;
  const source = `export function makeDial(formatAddress) { ${proxy} ${code} return dial; }`;
  const { makeDial } = await import(`data:application/typescript,${encodeURIComponent(source)}`);
  return makeDial(formatAddress);
}

Deno.test("a client connects through CONNECT, and rejects if the proxy refuses", async () => {
  await using serving = serve(async (request) => reply(200, await request.text()));
  const [host, port] = serving.address as readonly [string, number];
  const target = `${host}:${port}`;
  using proxy = new RawServer();
  const client = new Client(serving.address, { dial: await loadDial(Number(proxy.address[1])) });
  const runProxy = async (response: string) => {
    using peer = await proxy.accept();
    const preamble = await peer.respond(response);
    assertEquals(preamble, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    if (!response.includes(" 200 ")) return;
    using upstream = await RawPeer.connect(serving.address);
    await upstream.send(await peer.readUntil("hello"));
    await peer.send(await upstream.readUntil("hello"));
  };
  const proxying = runProxy("HTTP/1.1 200 Connection established\r\n\r\n");
  assertEquals(await (await client.request("POST", "/", {}, "hello")).text(), "hello");
  await proxying;
  const refusing = runProxy("HTTP/1.0 403 Forbidden\r\n\r\n");
  const problem = `the proxy refused ${target}: HTTP/1.0 403`;
  await assertRejects(() => client.request("GET", "/"), Error, problem);
  await refusing;

  const impatientClient = new Client(serving.address, {
    dial: await loadDial(Number(proxy.address[1])),
    timeout: 0.3,
  });
  const silence = proxy.accept();
  await assertRejects(() => impatientClient.request("GET", "/"));
  (await silence).close();
});
