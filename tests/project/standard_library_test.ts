/** Where the tests' own @std packages come from. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { tempDir } from "@degu/testing/directories.ts";
import { findStandardLibrary } from "@degu/internal/tools/standard_library.ts";

const PATIENCE = { connect: 0.3, load: 30 };

/** What `/mod.ts` of every package holds. */
const MODULE = new TextEncoder().encode("export const found = true;\n");

/** A JSR in which every package has one version, and whose every answer is so many seconds late. */
async function startRegistry(secondsLate: number) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", MODULE)).toHex();
  const manifest = { "/mod.ts": { size: MODULE.length, checksum: `sha256-${hash}` } };
  const exports = { ".": "./mod.ts", "./time": "./mod.ts", "./types": "./mod.ts" };
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async ({ url }) => {
      await new Promise((resolve) => setTimeout(resolve, secondsLate * 1000));
      if (url.endsWith("/meta.json")) return Response.json({ versions: { "1.0.99": {} } });
      if (url.endsWith("/1.0.99_meta.json")) return Response.json({ manifest, exports });
      if (url.endsWith("/1.0.99/mod.ts")) return new Response(MODULE);
      return new Response(null, { status: 404 });
    },
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** The URL of a port of this machine at which nobody listens. */
function refusingUrl(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `http://127.0.0.1:${listener.addr.port}/`;
}

Deno.test("JSR is used if it answers, even if that takes longer than a connection may", async () => {
  await Promise.all(["", "jsr"].map(async (wanted) => {
    await using cache = await tempDir();
    await using registry = await startRegistry(PATIENCE.connect);
    const env = { DEGU_STD: wanted, JSR_URL: registry.url, DENO_DIR: cache.path };
    const start = performance.now();
    assertEquals(await findStandardLibrary(env, PATIENCE), {
      description: "@std packages: JSR",
      flags: [],
    });
    assert(performance.now() - start >= PATIENCE.connect * 2000, "it waited for nothing");
  }));
});

Deno.test("cached packages are used without a network", async () => {
  await using cache = await tempDir();
  let url;
  {
    await using registry = await startRegistry(0);
    url = registry.url;
    await findStandardLibrary({ JSR_URL: url, DENO_DIR: cache.path, DEGU_STD: "jsr" }, PATIENCE);
  }
  await findStandardLibrary({ JSR_URL: url, DENO_DIR: cache.path, DEGU_STD: "jsr" }, PATIENCE);
});

Deno.test("if JSR refuses, can't be resolved, or is too slow, the stand-ins are used", async () => {
  await using cache = await tempDir();
  await using slow = await startRegistry(1);
  for (const url of [refusingUrl(), "https://jsr.invalid/", slow.url]) {
    const env = { JSR_URL: url, DENO_DIR: cache.path };
    const patience = url === slow.url ? { connect: 0.1, load: 0.5 } : PATIENCE;
    const { description, flags } = await findStandardLibrary(env, patience);
    assertEquals(flags[0], "--import-map");
    assertMatch(description, /JSR (is out of reach|did not answer within 0\.5 s), taking tests/);
    const needed = { ...env, DEGU_STD: "jsr" };
    await assertRejects(
      () => findStandardLibrary(needed, patience),
      Error,
      'DEGU_STD is "jsr", but',
    );
  }
});

Deno.test("DEGU_STD=offline makes no request, and any other value is refused", async () => {
  const { flags } = await findStandardLibrary({ DEGU_STD: "offline", JSR_URL: "none" }, PATIENCE);
  assertEquals(flags.length, 2);
  await assertRejects(
    () => findStandardLibrary({ DEGU_STD: "JSR" }, PATIENCE),
    Error,
    'DEGU_STD must be "jsr", "offline" or not set; got "JSR"',
  );
});
