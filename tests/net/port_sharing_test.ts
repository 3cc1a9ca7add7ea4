/** Whether ports can be shared, which requires a flag. */
import { assertEquals } from "@std/assert";
import { runScript } from "@degu/testing/processes.ts";

Deno.test("Deno's own sockets share a port only with --unstable-net", async () => {
  const script = `
    import { denoSharesPorts } from "./net/listener.ts";
    import { PlainListener } from "./net/listener.ts";
    const shared = { reusePort: denoSharesPorts(), fd: null };
    const first = new PlainListener(["127.0.0.1", 0], console, shared);
    try {
      new PlainListener(first.address, console, shared).close();
      console.log("shared");
    } catch (error) {
      console.log(error.name);
    }
    first.close();`;
  assertEquals(await runScript(script, ["--allow-net", "--unstable-net"], {}), "shared\n");
  assertEquals(await runScript(script, ["--allow-net"], {}), "AddrInUse\n");
});
