/** A pool that is replaced by that of another process, on the same port, while clients continue. */
import { assert, assertEquals } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { programCommand } from "@degu/testing/programs.ts";
import { within } from "@degu/testing/raw_peer.ts";

const PATIENCE = 20;

/** A pool in a process of its own. */
class PoolProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #stderr: Promise<string>;

  private constructor(child: Deno.ChildProcess, readonly address: Address) {
    this.#child = child;
    this.#stderr = new Response(child.stderr).text();
  }

  static async start(address: Address, sslconfig: object): Promise<PoolProcess> {
    const offline = new URL("../support/offline/import_map.json", import.meta.url).pathname;
    const flags = [
      "--allow-net=127.0.0.1",
      "--allow-read",
      `--import-map=${offline}`,
    ];
    const args = [JSON.stringify({ address, sslconfig })];
    const child = programCommand("pool.ts", { flags, args }, "piped").spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await within(reader.read(), "the pool serves", PATIENCE);
    await reader.cancel();
    return new PoolProcess(child, JSON.parse(value));
  }

  /** Shuts it down; resolves when the process has ended by itself. */
  async shutdown(): Promise<void> {
    await this.#child.stdin.close();
    const { success } = await within(this.#child.status, "the process ends", PATIENCE);
    assert(success, await this.#stderr);
    assertEquals(await this.#stderr, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#stderr;
  }
}

Deno.test("a second process takes over the port before the first one leaves: every client is served", async () => {
  await using pki = await TempPKI.create();
  await using old = await PoolProcess.start(["127.0.0.1", 0], pki.serverSslconfig);
  const client = new SSLClient(pki.clientSslconfig, old.address, { timeout: PATIENCE });
  let left = Infinity;
  let cut = 0;
  const refused: string[] = [];
  // A new connection for each request; one that is cut before it is served is made again.
  const ask = async () => {
    while (left > 0) {
      try {
        const { body } = await client.request("GET", "/");
        await body!.bytes();
        left--;
      } catch (error) {
        cut++;
        if (error instanceof Deno.errors.ConnectionRefused) refused.push(String(error));
        assert(cut <= 20, `${cut} connections were cut; ${error}`);
      }
    }
  };
  const asking = Array.from({ length: 4 }, ask);
  await using next = await PoolProcess.start(old.address, pki.serverSslconfig);
  assertEquals(next.address, old.address);
  await old.shutdown();
  left = 200;
  await within(Promise.all(asking), "every request is answered", PATIENCE);
  assertEquals(refused, []);
  await next.shutdown();
});
