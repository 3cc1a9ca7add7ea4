/** The worker of a temporary server: its end is noticed, it can be stopped, and its code is found. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { TempPKI, TempServer, TempSSLServer } from "@degu/degu/misc";
import { type App, Server } from "@degu/degu/server";
import { runFromCache } from "@degu/testing/cached_programs.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { spawnScript } from "@degu/testing/processes.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";

const anywhere: Address = ["127.0.0.1", 0];
const app = () => [200, "OK", {}, null] as const;

/** Seconds: the suite checks the types of the worker's module before the first one starts. */
const PATIENCE = 30;

Deno.test("start() rejects if the worker terminates before the server is ready", async (t) => {
  const rows: [what: string, build: () => Promise<App>, words: string][] = [
    ["Deno.exit()", () => Deno.exit(0), "has ended by itself"],
    ["self.close()", () => (self.close(), new Promise(() => {})), "has ended by itself"],
    [
      "self.close() later",
      () => (setTimeout(() => self.close(), 20), new Promise(() => {})),
      "has ended by itself",
    ],
    [
      "an error that nobody catches",
      () => {
        setTimeout(() => {
          throw new Error("the real cause");
        });
        return new Promise(() => {});
      },
      "the real cause",
    ],
    [
      "a rejection that nobody handles",
      () => (Promise.reject(new Error("the real cause")), new Promise(() => {})),
      "the real cause",
    ],
  ];
  for (const [what, build, words] of rows) {
    await t.step(what, async () => {
      const error = await rejectionOf(
        within(TempServer.start(anywhere, build), what, PATIENCE),
        what,
      );
      assert(error instanceof Error);
      assertStringIncludes(error.message, words);
    });
  }
});

Deno.test("a worker that terminates later is reported, and does not block close() or the process", async () => {
  const script = `
    import { Client } from "./client.ts";
    import { TempServer } from "./misc.ts";
    for (const end of [() => Deno.exit(0), () => self.close()]) {
      const build = new Function("return () => () => { (" + end + ")(); return new Promise(() => {}); }")();
      const server = await TempServer.start(["127.0.0.1", 0], build);
      await new Client(server.address).request("GET", "/").catch(() => {});
      await server.close();
    }
    const last = await TempServer.start(["127.0.0.1", 0], () => {
      setTimeout(() => self.close(), 20);
      return () => [200, "OK", {}, null];
    });
    console.log("started");
    // It is never closed, and the process ends all the same.`;
  const child = await spawnScript(script, ["--allow-net", "--allow-read"], { NO_COLOR: "1" });
  const output = child.output();
  try {
    const { success, stdout, stderr } = await within(output, "the program ends", PATIENCE);
    const printed = new TextDecoder().decode(stderr);
    assert(success, printed);
    assertEquals(new TextDecoder().decode(stdout), "started\n");
    const line =
      "the worker of a TempServer has ended by itself, as with Deno.exit() or self.close()\n";
    assertStringIncludes(printed, line);
  } catch (error) {
    child.kill("SIGKILL");
    await output;
    throw error;
  }
});

Deno.test("a signal aborts starting a server", async (t) => {
  const never = () => new Promise<App>(() => {});
  await t.step("that was aborted before", async () => {
    const reason = new Error("no more");
    const signal = AbortSignal.abort(reason);
    const error = await rejectionOf(TempServer.start({ address: anywhere, signal }, null, app), "");
    assertEquals(error, reason);
  });
  await t.step("that never gets ready", async () => {
    const signal = AbortSignal.timeout(50);
    const started = within(TempServer.start({ address: anywhere, signal }, never), "it rejects");
    await assertRejects(() => started, DOMException, "aborted due to timeout");
  });
  await t.step("at the same moment", async () => {
    const controller = new AbortController();
    const reason = new Error("no more");
    const started = TempServer.start({ address: anywhere, signal: controller.signal }, null, app);
    controller.abort(reason);
    assertEquals(await rejectionOf(started, "aborted at once"), reason);
  });
});

Deno.test("a signal closes a server that has started, with or without TLS", async () => {
  await using pki = await TempPKI.create();
  const controller = new AbortController();
  const place = { address: anywhere, signal: controller.signal, options: { maxRequests: 5 } };
  const servers = [
    await TempServer.start(place, null, app),
    await TempSSLServer.start(pki.serverSslconfig, place, null, app),
  ];
  controller.abort();
  for (const server of servers) {
    await within(server.close(), "close() resolves");
    (await listenAgain(() => new Server(server.address, app))).close();
  }
});

Deno.test("a signal that is aborted after a server was closed does nothing", async () => {
  const controller = new AbortController();
  const place = { address: anywhere, signal: controller.signal };
  await (await TempServer.start(place, null, app)).close();
  controller.abort();
  await turnOfEventLoop();
});

Deno.test("a signal of another type, or an unknown property beside the address, is a TypeError", async () => {
  const rows: [place: unknown, words: string][] = [
    [{ address: anywhere, signal: new AbortController() }, "signal: must be an AbortSignal"],
    [{ address: anywhere, signal: null }, "signal: must be an AbortSignal"],
    [{ address: anywhere, timeout: 5 }, 'address: unknown option "timeout"'],
  ];
  for (const [place, words] of rows) {
    await assertRejects(
      () => Reflect.apply(TempServer.start, TempServer, [place, null, app]),
      TypeError,
      words,
    );
  }
});

Deno.test("a cached program finds the worker without its server", async () => {
  const program = `
    import { TempServer } from "./misc.ts";
    import { Client } from "./client.ts";
    await using server = await TempServer.start(["127.0.0.1", 0], null, () => [204, "OK", {}, null]);
    console.log((await new Client(server.address).request("GET", "/")).status);`;
  const permissions = ["--allow-net=127.0.0.1"];
  assertEquals(await runFromCache({ texts: { "/main.ts": program }, permissions }), "204\n");
});

Deno.test("loading misc.ts runs nothing of the worker", async () => {
  await import("@degu/degu/misc");
  assertEquals(Reflect.get(globalThis, "onmessage") ?? null, null);
});
