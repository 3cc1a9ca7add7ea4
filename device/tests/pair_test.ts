/**
 * `pair` and `announce` on a machine without a network, where a device joins at an address. The
 * tests in nearby_test.ts have a network in this process, and those in
 * agent/tests/long/network_test.ts have several machines.
 */
import { PairingError, type PairingQuestion } from "@degu/degu/device";
import {
  announce,
  inviteNearby,
  nearby,
  pair,
  type PairEvent,
  type PairOptions,
} from "@degu/degu/device/discovery";
import { captureTimeouts } from "@degu/testing/clock.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import { patch } from "@degu/testing/patching.ts";
import { importMapFlags, runScript } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { makeDevices, RawJoiner } from "./pairing.ts";

type Addresses = Extract<PairEvent, { type: "alone" }>["addresses"];

async function setUp() {
  const devices = await TestDevices.create();
  const [camera, lamp] = [await devices.open("camera"), await devices.open("lamp")];
  const types: string[] = [];
  const alone = Promise.withResolvers<Addresses>();
  const start = (options: Partial<PairOptions>) =>
    pair(camera, {
      listen: [["127.0.0.1", 0]],
      confirm: () => true,
      choose: () => "",
      onEvent: (event) => {
        types.push(event.type);
        if (event.type === "alone") alone.resolve(event.addresses);
      },
      ...options,
    });
  return {
    camera,
    lamp,
    types,
    addresses: alone.promise,
    start,
    [Symbol.asyncDispose]: () => devices[Symbol.asyncDispose](),
  };
}

Deno.test("without a network, pair reports its addresses, at which a device joins", async () => {
  await using test = await setUp();
  const numbers: string[] = [];
  const confirm = ({ number }: PairingQuestion) => numbers.push(number) > 0;
  const paired = test.start({ confirm, peerName: "lamp-1" });
  const joined = await test.lamp.join(await test.addresses, { confirm });
  const peer = await paired;
  assertEquals([peer.id, peer.name, joined.id], [test.lamp.id, "lamp-1", test.camera.id]);
  assertEquals([numbers.length, numbers[0]], [2, numbers[1]]);
  assertEquals(test.types, ["open", "alone"]);
});

Deno.test("a reply that isn't true, and an error, mean no: both devices report it", async () => {
  for (const confirm of [() => false, () => Promise.reject(new Error("no terminal"))]) {
    await using test = await setUp();
    using refusals = captureTimeouts(2000);
    const question = Promise.withResolvers<void>();
    const paired = test.start({
      confirm: () => {
        question.resolve();
        return confirm();
      },
    });
    paired.catch(() => {});
    const joining = test.lamp.join(await test.addresses, { confirm: () => true });
    const joinError = await assertRejects(() => joining, PairingError);
    assertEquals([joinError.code, joinError.reason], ["NOT_CONFIRMED", "remote"]);
    await question.promise;
    refusals.end();
    const error = await assertRejects(() => paired, PairingError);
    assertEquals([error.code, error.reason], ["NOT_CONFIRMED", "local"]);
    assertEquals([await test.camera.peers(), await test.lamp.peers()], [[], []]);
  }
});

Deno.test("the signal ends pair in each state, even if a function never returns", async () => {
  const never = () => new Promise<boolean>(() => {});
  for (const state of ["before", "open", "question"] as const) {
    await using test = await setUp();
    const aborting = new AbortController();
    const reason = new Error("stop");
    if (state === "before") aborting.abort(reason);
    const question = Promise.withResolvers<AbortSignal>();
    const paired = test.start({
      signal: aborting.signal,
      confirm: ({ signal }) => {
        question.resolve(signal);
        return never();
      },
    });
    paired.catch(() => {});
    if (state !== "before") {
      const addresses = await test.addresses;
      if (state === "question") {
        test.lamp.join(addresses, { confirm: () => true }).catch(() => {});
        await question.promise;
      }
      aborting.abort(reason);
    }
    assertEquals(await assertRejects(() => withTimeout(paired, state)), reason);
    if (state === "question") assert((await question.promise).aborted);
  }
});

Deno.test("if the other device leaves during the question, pair ends, although the reply never comes", async () => {
  await using test = await setUp();
  const question = Promise.withResolvers<void>();
  const paired = test.start({
    confirm: () => {
      question.resolve();
      return new Promise(() => {});
    },
  });
  paired.catch(() => {});
  const leaving = new AbortController();
  const { signal } = leaving;
  const joining = test.lamp.join(await test.addresses, { signal, confirm: () => true });
  joining.catch(() => {});
  await question.promise;
  leaving.abort();
  const error = await assertRejects(() => withTimeout(paired, "the end"), PairingError);
  assertEquals([error.code, error.reason], ["NOT_CONFIRMED", "remote"]);
});

Deno.test("five numbers of strangers that left before the question end pair", async () => {
  await using test = await setUp();
  await using strangers = await makeDevices("stranger");
  const paired = test.start({});
  paired.catch(() => {});
  const addresses = await test.addresses;
  for (let count = 0; count < 5; count++) {
    using joiner = await RawJoiner.commit({ addresses }, strangers.stranger);
    joiner.stranger.post("/random", {});
    await joiner.stranger.waitForEnd();
  }
  const error = await assertRejects(() => withTimeout(paired, "the end"), PairingError);
  assertEquals([error.code, error.reason], ["NOT_OPEN", "no numbers left"]);
});

Deno.test("an error of onEvent ends pair, and wrong options are refused before anything is opened", async () => {
  await using test = await setUp();
  const onEvent = () => {
    throw new Error("no screen");
  };
  await assertRejects(() => test.start({ onEvent }), Error, "no screen");
  const wrongOptions: [Record<string, unknown>, string][] = [
    [{ confirm: null }, "confirm"],
    [{ choose: 1 }, "choose"],
    [{ onEvent: 1 }, "onEvent: must be"],
    [{ service: 1 }, "service"],
    [{ seconds: "1" }, "seconds"],
    [{ unknown: 1 }, "unknown"],
  ];
  for (const [options, text] of wrongOptions) {
    await assertRejects(() => test.start(options as Partial<PairOptions>), TypeError, text);
  }
});

Deno.test("an invitation on the loopback interface isn't announced; the name of a service and a port are checked", async () => {
  await using test = await setUp();
  const options = { listen: [["127.0.0.1", 0]] as const, confirm: () => true };
  {
    const { invitation, announce } = await inviteNearby(test.camera, options);
    await using _invitation = invitation;
    assertEquals(announce(), null);
    const { addresses } = invitation;
    assertEquals((await test.lamp.join(addresses, { confirm: () => true })).id, test.camera.id);
  }
  for (const service of ["", "a".repeat(16), "Degu", "a--b", "-a", "a.b"]) {
    assertThrows(() => announce(test.camera, 7443, { service }), RangeError, "service");
    await assertRejects(() => nearby(test.camera, { service }), RangeError, "service");
    await assertRejects(() => inviteNearby(test.camera, { service }), RangeError, "service");
  }
  for (const port of [0, 65_536, 1.5]) assertThrows(() => announce(test.camera, port), RangeError);
});

Deno.test("without IPv6, an invitation has the addresses of IPv4", async () => {
  await using test = await setUp();
  using _listen = patch(Deno, "listen", (listen) =>
    ((options: Deno.TcpListenOptions) => {
      if (options.hostname === "::") throw new Deno.errors.AddrNotAvailable("no IPv6");
      return listen(options);
    }) as typeof listen);
  const { invitation } = await inviteNearby(test.camera, { confirm: () => true });
  await using _invitation = invitation;
  const hosts = invitation.addresses.map(([host]) => `${host}`);
  assertEquals(hosts.filter((host) => host.includes(":")), []);
});

Deno.test("a program without discovery loads neither its modules nor a package of npm", async () => {
  const command = [Deno.execPath(), "info", "--json", ...importMapFlags(), "device/mod.ts"];
  const { stdout } = await runCommand(command);
  const specifiers = JSON.parse(stdout).modules.map((module: { specifier: string }) =>
    module.specifier
  );
  assert(
    specifiers.some((specifier: string) => specifier.endsWith("/device/peers/device_client.ts")),
  );
  const foreign = specifiers.filter((specifier: string) => /discovery|npm:|dns/.test(specifier));
  assertEquals(foreign, []);
});

Deno.test("without permissions, nothing is asked: a query, and the errors of announce, nearby and find", async () => {
  const script = `
    import { announce, find, findDiscoveryProblem, isDiscoveryPermitted, nearby } from "./device/discovery/mod.ts";
    const device = { name: "camera", id: "a".repeat(52) };
    const errors = [() => announce(device, 7443), () => nearby(device), () => find(new AbortController().signal, device)];
    const names = await Promise.all(errors.map(async (call) => { try { await call(); } catch (error) { return error.name; } }));
    console.log(JSON.stringify([isDiscoveryPermitted(), findDiscoveryProblem(), ...names]));`;
  const stdout = await runScript(script, [], { NO_COLOR: "1" });
  const refused = Array(3).fill("NotCapable");
  assertEquals(JSON.parse(stdout), [false, "not permitted", ...refused]);
});
