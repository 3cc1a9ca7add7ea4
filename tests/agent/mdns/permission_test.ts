import { assertEquals } from "@std/assert";
import { runScript } from "@degu/testing/processes.ts";

const SCRIPT = `
  import { permittedTypes } from "./agent/mdns/permission.ts";
  try {
    console.log(permittedTypes(5353).join());
  } catch (error) {
    console.log(error.name + ": " + error.message);
  }
`;

Deno.test("mDNS uses what is permitted, and says what it needs if nothing is", async () => {
  const both = "--allow-net=224.0.0.251:5353,[ff02::fb]:5353";
  const sys = "--allow-sys=networkInterfaces";
  const results = await Promise.all(
    [
      ...[both, "--allow-net", "--allow-net=224.0.0.251:5353", "--allow-net=[ff02::fb]"],
      ...["--no-prompt"],
    ].map((flag) => runScript(SCRIPT, [flag, sys], {})),
  );
  results.push(await runScript(SCRIPT, [both, "--no-prompt"], {}));
  assertEquals(results, [
    "udp4,udp6\n",
    "udp4,udp6\n",
    "udp4\n",
    "udp6\n",
    "NotCapable: mDNS needs net access to 224.0.0.251:5353 or [ff02::fb]:5353; run again with " +
    "--allow-net=224.0.0.251:5353,[ff02::fb]:5353\n",
    "NotCapable: mDNS needs sys access to the interfaces of this machine; run again with " +
    "--allow-sys=networkInterfaces\n",
  ]);
});
