/** What `TempPKI.create` accepts, and what it refuses. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import * as fc from "fast-check";
import { parseAlternativeName } from "@degu/internal/pki/alternative_names.ts";
import { TempPKI, type TempPKIOptions } from "@degu/internal/misc/pki.ts";
import { covers, readCertificate } from "@degu/testing/certificates.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";

Deno.test("TempPKI issues a certificate for any DNS name and any IP address", async () => {
  const name = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
  await fc.assert(
    fc.asyncProperty(fc.array(name, { maxLength: 3 }), async (names) => {
      await using pki = await TempPKI.create({ clientPki: false, names });
      const server = await readCertificate(pki.serverSslconfig.certFile);
      for (const { value } of names.map((name) => parseAlternativeName("names", name))) {
        assert(covers(server, value), value);
      }
    }),
    { numRuns: 25 },
  );
});

Deno.test("TempPKI refuses a name that is neither a DNS name nor an IP address", async (t) => {
  const label = "a".repeat(63);
  const invalid = [
    "",
    ".",
    "a..b",
    "example.com.",
    "*.example.com",
    "-a",
    "a-",
    "a_b",
    "ä",
    "\u212a.local", // the Kelvin sign, which is k in lower case
    "a b",
    "a\0",
    "a\n",
    "1.2.3",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4.",
    "a.1",
    "[::1]",
    "::1::",
    "fe80::1%eth0",
    "::1]/",
    "1.2.3.4:80",
    `${label}a`,
    `${label}.${label}.${label}.${label}`,
  ];
  for (const name of invalid) {
    await t.step(JSON.stringify(name), async () => {
      await assertRejects(
        () => TempPKI.create({ names: [name] }),
        RangeError,
        "a DNS name or an IP",
      );
    });
  }
});

Deno.test("TempPKI.create rejects options of a wrong type or name", async (t) => {
  const invalid: [options: unknown, message: string][] = [
    [{ clientPKI: false }, `unknown option "clientPKI"`],
    [{ clientPki: 1 }, "clientPki: must be a boolean"],
    [{ clientPki: null }, "clientPki: must be a boolean"],
    [{ names: "localhost" }, "names: must be an array"],
    [{ names: ["localhost", 1] }, "names[1]: must be a string"],
  ];
  for (const [options, message] of invalid) {
    await t.step(message, async () => {
      await assertRejects(
        () => TempPKI.create(options as TempPKIOptions),
        TypeError,
        message,
      );
    });
  }
});

Deno.test("TempPKI.create needs only write permission and loads the library on first use", async () => {
  await using dir = await tempDir();
  const output = await runScript(
    `import { TempPKI } from ${JSON.stringify(import.meta.resolve("../../misc/pki.ts"))};
     const before = "getMetadata" in Reflect;
     const pki = await TempPKI.create();
     await pki.close();
     console.log(JSON.stringify([before, "getMetadata" in Reflect]));`,
    [`--allow-write=${dir.path}`],
    { TMPDIR: dir.path },
  );
  assertEquals(JSON.parse(output), [false, true]);
  assertEquals(await entries(dir.path), []);
});
