/** Both ends in separate processes. */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { TextLineStream } from "@std/streams";
import type { Address } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { tempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { programCommand } from "@degu/testing/programs.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** A server in another process. */
async function startProcess(
  address: Address,
): Promise<AsyncDisposable & { address: Address; pid: number }> {
  const place = address instanceof Uint8Array ? { name: [...address] } : { address };
  const flags = ["--allow-net", "--allow-read", "--allow-write"];
  const args = [JSON.stringify(place)];
  const child = programCommand("address_server.ts", { flags, args }, "piped").spawn();
  const lines = child.stdout
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream())
    .getReader();
  const { value = "" } = await within(lines.read(), "the server is ready", 10);
  const { address: bound, name } = JSON.parse(value);
  return {
    address: name === undefined ? bound : Uint8Array.from(name),
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      await child.stdin.close();
      const { success } = await within(child.status, "the server ends");
      const errors = await new Response(child.stderr).text();
      await lines.cancel();
      assert(success && errors === "", errors);
    },
  };
}

Deno.test("a server in another process, at every kind of address", async () => {
  await using directory = await tempDir();
  const addresses: readonly Address[] = [
    ["127.0.0.1", 0],
    ...(hasIPv6 ? [["::1", 0, 0, 0] as const] : []),
    `${directory.path}/socket`,
    new TextEncoder().encode(`\0degu-test-${crypto.randomUUID()}`),
    new Uint8Array(0),
  ];
  await Promise.all(addresses.map(async (address) => {
    let place;
    {
      await using server = await startProcess(address);
      place = server.address;
      const client = new Client(place, { timeout: 10 });
      using conn = await client.connect();
      for (let i = 0; i < 10; i++) {
        const body = new Uint8Array(100_000).fill(i);
        const { headers, body: answer } = await conn.put("/", {}, body);
        assertEquals(headers["pid"], `${server.pid}`);
        assertNotEquals(headers["pid"], `${Deno.pid}`);
        assertEquals(await answer?.bytes(), body);
      }
      const response = await client.request("POST", "/", {}, latin1("x"));
      assertEquals(await response.body?.text(), "x");
    }
    await assertRejects(() => new Client(place).connect());
  }));
  await assertRejects(() => Deno.lstat(`${directory.path}/socket`), Deno.errors.NotFound);
});
