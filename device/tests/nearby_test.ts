/** Devices that find each other and pair in this process, over mDNS on the loopback interface. */
import type { HostAddress } from "@degu/degu/base";
import { type Device, PairingError, type PairingQuestion } from "@degu/degu/device";
import {
  announce,
  find,
  joinNearby,
  nearby,
  type NearbyDevice,
  pair,
  type PairEvent,
  type PairOptions,
} from "@degu/degu/device/discovery";
import { NETWORK } from "@degu/internal/device/discovery/mdns_links.ts";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { captureTimeouts, speedUpTimeouts, stopPerformanceClock } from "@degu/testing/clock.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import { ADDRESS, makeInterface, makeInterfaces, openLoopbackNetwork, SILENT } from "./mdns.ts";
import { patch } from "@degu/testing/patching.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { retryUntilInTime, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import net from "node:net";
import { makeDevices, RawJoiner } from "./pairing.ts";

/** Opens devices in a network, in the order of their ids: the first joins the others. */
async function setUp(...names: string[]) {
  const stack = new AsyncDisposableStack();
  const network = await openLoopbackNetwork();
  const interfaces = [makeInterface("eth0", "10.9.9.9", "255.0.0.0")];
  let nextConnect = Promise.withResolvers<number>();
  stack.use(patch(NETWORK, "port", () => network.port));
  stack.use(patch(NETWORK, "findInterfaces", () => network.findInterfaces));
  stack.use(patch(Deno, "networkInterfaces", () => () => interfaces as never));
  // This machine doesn't have the announced address.
  stack.use(patch(Deno, "connect", (connect) =>
    ((options: Deno.ConnectOptions) => {
      nextConnect.resolve(options.port);
      nextConnect = Promise.withResolvers();
      return connect({ ...options, hostname: "127.0.0.1" });
    }) as typeof connect));
  stack.use(
    patch(
      net,
      "connect",
      (connect) =>
        ((options: net.TcpNetConnectOpts) => connect({ ...options, host: "127.0.0.1" })) as never,
    ),
  );
  const devices = stack.use(await TestDevices.create());
  const opened = await Promise.all(names.map((name) => devices.open(name)));
  return {
    devices: opened.sort((a, b) => a.id < b.id ? -1 : 1) as [Device, Device, Device],
    /** Waits until a device connects to a port again. */
    async waitForConnect(port: number) {
      while (await nextConnect.promise !== port);
    },
    announce: (device: Device, port: number) => {
      const announcement = announce(device, port, { service: "degu-pair", logger: SILENT });
      return stack.use(announcement);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Starts `pair()`, and records its events. */
function startPairing(device: Device, options: Partial<PairOptions> = {}) {
  const events: PairEvent[] = [];
  const closing = new AbortController();
  let eventAdded = Promise.withResolvers<void>();
  const paired = pair(device, {
    logger: SILENT,
    signal: closing.signal,
    confirm: () => true,
    choose: () => {
      throw new Error("there is only one device");
    },
    onEvent: (event) => {
      events.push(event);
      eventAdded.resolve();
    },
    ...options,
  });
  paired.catch(() => {});
  return {
    events,
    paired,
    typesOf: () => events.map(({ type }) => type),
    async waitForEvent<Type extends PairEvent["type"]>(type: Type, count = 1) {
      const isOfType = (event: PairEvent): event is Extract<PairEvent, { type: Type }> =>
        event.type === type;
      for (;;) {
        const event = events.filter(isOfType)[count - 1];
        if (event !== undefined) return event;
        eventAdded = Promise.withResolvers();
        await withTimeout(Promise.race([eventAdded.promise, paired]), `the event ${type}`, 60);
      }
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await paired.catch(() => {});
    },
  };
}

/** A person who doesn't reply. */
const waitInVain = async ({ signal }: PairingQuestion) => {
  await waitForAbort(signal);
  return false;
};

const shortIdOf = ({ id }: Device) => id.slice(0, 16);

Deno.test("an announced device is listed and found by others, until its announcement ends, but not by itself", async () => {
  await using test = await setUp("camera", "lamp");
  const [camera, lamp] = test.devices;
  const options = {
    logger: SILENT,
    seconds: 60,
    onChange: (list: readonly unknown[]) => list.length > 0,
  };
  const { signal } = new AbortController();
  {
    await using announcement = announce(camera, 7443, { logger: SILENT });
    const name = await withTimeout(announcement.announced, "it is announced");
    assertEquals(name, `${camera.name}-${shortIdOf(camera)}`);
    const entry = { name: camera.name, id: shortIdOf(camera), addresses: [[ADDRESS, 7443]] };
    assertEquals(await nearby(lamp, options) as unknown[], [entry]);
    const lists: NearbyDevice[][] = [];
    const onChange = (list: readonly NearbyDevice[]) => lists.push([...list]) > 0;
    assertEquals(await nearby(camera, { ...options, onChange }), []);
    assert(lists.length > 0 && lists.every((list) => list.length === 0));
    // On a busy machine, the search may end before the response.
    await retryUntilInTime("it was not found", async () => {
      const found = await find(signal, camera, { logger: SILENT });
      assertEquals(found, found.length === 0 ? [] : [[ADDRESS, 7443]]);
      return found.length > 0;
    });
    assertEquals(await nearby(lamp, { ...options, service: "other", seconds: 0.3 }), []);
  }
  assertEquals(await nearby(lamp, { ...options, seconds: 0.3 }), []);
  for (const seconds of [-1, 86_401, NaN]) {
    await assertRejects(() => nearby(lamp, { seconds }), RangeError, "seconds");
  }
});

Deno.test("two devices that call pair find each other, and both show the same number", async () => {
  await using test = await setUp("camera", "lamp");
  const [one, two] = test.devices;
  const questions: string[] = [];
  const confirm = ({ number, name }: PairingQuestion) => questions.push(`${name} ${number}`) > 0;
  await using first = startPairing(one, { confirm, peerName: "other" });
  await using second = startPairing(two, { confirm });
  const pairing = Promise.all([first.paired, second.paired]);
  const [peer, otherPeer] = await withTimeout(pairing, "they are paired", 60);
  assertEquals([peer.id, peer.name, otherPeer.id], [two.id, "other", one.id]);
  const [number] = questions[0]!.match(/\d{6}/)!;
  assertEquals(questions.toSorted(), [`camera ${number}`, `lamp ${number}`]);
  assertEquals([first.typesOf(), second.typesOf()], [["open"], ["open"]]);
  assertEquals(await nearby(one, { service: "degu-pair", logger: SILENT, seconds: 0.3 }), []);
});

Deno.test("a person has more time to compare the numbers than a device to connect", async () => {
  await using test = await setUp("camera", "lamp");
  const [one, two] = test.devices;
  using timeouts = captureTimeouts(5000);
  const bothAsked = Promise.withResolvers<boolean>();
  let questionCount = 0;
  // Before both devices ask, one of them is still connecting.
  const confirm = () => {
    if (++questionCount === 2) bothAsked.resolve(timeouts.end() >= 0);
    return bothAsked.promise;
  };
  await using first = startPairing(one, { confirm });
  await using second = startPairing(two, { confirm });
  const pairing = Promise.all([first.paired, second.paired]);
  const ids = (await withTimeout(pairing, "they are paired", 60)).map(({ id }) => id);
  assertEquals(ids, [two.id, one.id]);
});

Deno.test("of several devices, the person chooses one, and pair waits for it", async () => {
  // On a busy machine, a device may be found late.
  await retryUntilInTime("only one device was found", async () => {
    await using test = await setUp("camera", "lamp", "radio");
    const [one, two, three] = test.devices;
    await withTimeout(test.announce(two, await findUnusedPort()).announced, "it is announced");
    await using third = startPairing(three, { choose: () => shortIdOf(one) });
    await third.waitForEvent("open");
    const lists: string[][] = [];
    await using first = startPairing(one, {
      choose: (list) => {
        lists.push(list().map(({ name }) => name).sort());
        return shortIdOf(three);
      },
    });
    const pairing = Promise.all([first.paired, third.paired]);
    const names = (await withTimeout(pairing, "they are paired", 60)).map(({ id }) => id);
    assertEquals([names, first.typesOf()], [[three.id, one.id], ["open"]]);
    return lists.length === 1 && lists[0]!.join() === [two.name, three.name].sort().join();
  });
});

Deno.test("a device that joins, and isn't the chosen one, is refused without a question", async () => {
  await retryUntilInTime("only one device was found", async () => {
    await using test = await setUp("camera", "lamp", "radio");
    const [chosen, other, inviter] = test.devices;
    for (const device of [chosen, other]) {
      await withTimeout(test.announce(device, await findUnusedPort()).announced, "announced");
    }
    let isChosen = false;
    const asked: string[] = [];
    await using pairing = startPairing(inviter, {
      confirm: ({ id }) => asked.push(id) > 0,
      choose: () => {
        isChosen = true;
        return shortIdOf(chosen);
      },
    });
    const { invitation } = await pairing.waitForEvent("open");
    // A device that joins waits for the choice.
    const joining = other.join(invitation.addresses, { confirm: () => true });
    const error = await withTimeout(joining.catch((error) => error), "the answer", 60);
    if (!isChosen) return false;
    assert(error instanceof PairingError, `${error}`);
    assertEquals([error.code, asked], ["NOT_CONFIRMED", []]);
    return true;
  });
});

Deno.test("a device that joins just after another was found waits for the choice among further devices", async () => {
  await using test = await setUp("camera", "lamp", "radio");
  const [inviter, chosen, joiner] = test.devices;
  using clock = stopPerformanceClock();
  const choosing = Promise.withResolvers<void>();
  const asked: string[] = [];
  await using pairing = startPairing(inviter, {
    confirm: ({ id }) => asked.push(id) > 0,
    choose: () => {
      choosing.resolve();
      return shortIdOf(chosen);
    },
  });
  const { invitation } = await pairing.waitForEvent("open");
  // The time in which the first devices respond passes.
  clock.pass(5);
  const port = await findUnusedPort();
  test.announce(chosen, port);
  await withTimeout(test.waitForConnect(port), "the first device is found", 60);
  const numberShown = Promise.withResolvers<void>();
  const joining = joiner.join(invitation.addresses, {
    confirm: () => {
      numberShown.resolve();
      return true;
    },
  });
  const joinError = joining.catch((error) => error);
  await withTimeout(numberShown.promise, "the number is shown", 60);
  test.announce(joiner, await findUnusedPort());
  await withTimeout(choosing.promise, "the choice", 60);
  clock.pass(5);
  const error = await withTimeout(joinError, "the refusal", 60);
  assert(error instanceof PairingError, `${error}`);
  assertEquals([error.code, asked], ["NOT_CONFIRMED", []]);
});

Deno.test("if the chosen device isn't announced any more, pair reports it", async () => {
  await using test = await setUp("camera", "lamp", "radio");
  const [one, two, three] = test.devices;
  let skippedMilliseconds = 0;
  using _clock = patch(
    performance,
    "now",
    (now) => () => now.call(performance) + skippedMilliseconds,
  );
  const announcement = test.announce(two, await findUnusedPort());
  const otherAnnouncement = test.announce(three, await findUnusedPort());
  const announced = Promise.all([announcement.announced, otherAnnouncement.announced]);
  await withTimeout(announced, "they are announced");
  await using pairing = startPairing(one, {
    choose: async (list, signal) => {
      await announcement[Symbol.asyncDispose]();
      // A device stays in the list for a few seconds.
      while (list().length > 1 && !signal.aborted) {
        skippedMilliseconds += 1000;
        await waitForTick();
      }
      return shortIdOf(two);
    },
  });
  const { device } = await pairing.waitForEvent("gone");
  assertEquals([device.name, device.id], [two.name, shortIdOf(two)]);
});

Deno.test("if the chosen device leaves after the choice, pair reports it once", async () => {
  await retryUntilInTime("only one device was found", async () => {
    await using test = await setUp("camera", "lamp", "radio");
    const [one, two, three] = test.devices;
    const announcement = test.announce(two, await findUnusedPort());
    const otherAnnouncement = test.announce(three, await findUnusedPort());
    const announced = Promise.all([announcement.announced, otherAnnouncement.announced]);
    await withTimeout(announced, "they are announced");
    let isChosen = false;
    await using pairing = startPairing(one, {
      choose: () => {
        isChosen = true;
        return shortIdOf(two);
      },
    });
    await pairing.waitForEvent("unreached");
    if (!isChosen) return false;
    await announcement[Symbol.asyncDispose]();
    const { device } = await pairing.waitForEvent("gone");
    assertEquals([device.name, device.id], [two.name, shortIdOf(two)]);
    // Another device that appears meanwhile causes no second report.
    await otherAnnouncement[Symbol.asyncDispose]();
    test.announce(three, await findUnusedPort());
    const list = await nearby(one, { service: "degu-pair", logger: SILENT, seconds: 2 });
    if (list.length === 0) return false;
    const port = await findUnusedPort();
    test.announce(two, port);
    await withTimeout(test.waitForConnect(port), "the return", 60);
    assertEquals(pairing.typesOf().filter((type) => type === "gone"), ["gone"]);
    return true;
  });
});

Deno.test("a choice that no device has ends pair", async () => {
  await retryUntilInTime("only one device was found", async () => {
    await using test = await setUp("camera", "lamp", "radio");
    const [one, two, three] = test.devices;
    for (const device of [two, three]) {
      await withTimeout(test.announce(device, await findUnusedPort()).announced, "announced");
    }
    await using first = startPairing(one, { choose: () => "nobody" });
    const outcome = first.paired.then(() => null, (error) => error);
    const isOnlyOne = first.waitForEvent("unreached").then(() => null, () => outcome);
    const error = await withTimeout(Promise.race([outcome, isOnlyOne]), "the end", 60);
    if (error === null) return false;
    assertEquals(`${error}`, "RangeError: choose: no device has the id nobody");
    return true;
  });
});

Deno.test("a choice that no device has, and that only a device that joins waits for, ends pair", async () => {
  await retryUntilInTime("only one device was found", async () => {
    await using test = await setUp("camera", "lamp", "radio");
    const [found, joiner, inviter] = test.devices;
    using clock = stopPerformanceClock();
    // For five seconds, the inviter lets the first device join.
    using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 5000, 0.001);
    let isAsked = false;
    await using pairing = startPairing(inviter, {
      confirm: () => {
        isAsked = true;
        return false;
      },
      choose: () => "nobody",
    });
    const { invitation } = await pairing.waitForEvent("open");
    clock.pass(5);
    test.announce(found, await findUnusedPort());
    const waitForPause = async () => {
      while (!timeouts.started.includes(5000)) await waitForTick();
    };
    await withTimeout(waitForPause(), "the pause", 60);
    const joining = joiner.join(invitation.addresses, { confirm: () => true }).catch(() => {});
    test.announce(joiner, await findUnusedPort());
    await nearby(found, {
      service: "degu-pair",
      logger: SILENT,
      seconds: 60,
      onChange: (list) => list.some(({ id }) => id === shortIdOf(joiner)),
    });
    clock.pass(5);
    const error = await withTimeout(pairing.paired.catch((error) => error), "the end", 60);
    await joining;
    if (isAsked) return false;
    assertEquals(`${error}`, "RangeError: choose: no device has the id nobody");
    return true;
  });
});

Deno.test("a device that is found and can't be joined is tried again at each address, and reported once", async () => {
  await using test = await setUp("camera", "lamp");
  const [one, two] = test.devices;
  const port = await findUnusedPort();
  using _two = patch(
    NETWORK,
    "findInterfaces",
    () => () => makeInterfaces("127.0.0.1", ADDRESS, "fd00::8"),
  );
  using timeouts = speedUpTimeouts(() => false);
  test.announce(two, port);
  await using first = startPairing(one);
  const { device, address, error } = await first.waitForEvent("unreached");
  assertEquals([device.id, address], [shortIdOf(two), [ADDRESS, port]]);
  assertEquals((error as PairingError).code, "NOT_OPEN");
  // The second address, both again, and one a third time.
  for (let count = 1; count <= 4; count++) {
    await withTimeout(test.waitForConnect(port), `connection ${count}`, 60);
  }
  assertEquals(first.typesOf(), ["open", "unreached"]);
  // Half of five seconds for each address.
  assert(timeouts.started.includes(2500));
});

Deno.test("an attempt to join that ends with the call is not reported", async () => {
  await using test = await setUp("camera", "lamp");
  const [one, two] = test.devices;
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr as Deno.NetAddr;
  test.announce(two, port);
  await using first = startPairing(one);
  await withTimeout(test.waitForConnect(port), "it is tried", 60);
  await first[Symbol.asyncDispose]();
  assertEquals(first.typesOf(), ["open"]);
});

Deno.test("a stranger that doesn't confirm is reported while another device is found, and five numbers end pair", async () => {
  await using test = await setUp("camera", "lamp", "stranger");
  const [found, stranger, inviter] = test.devices;
  await withTimeout(test.announce(found, await findUnusedPort()).announced, "it is announced");
  let asked = Promise.withResolvers<void>();
  await using pairing = startPairing(inviter, {
    confirm: (question) => {
      asked.resolve();
      return waitInVain(question);
    },
  });
  const { invitation } = await pairing.waitForEvent("open");
  for (let count = 1; count <= 5; count++) {
    asked = Promise.withResolvers();
    const confirm = () => asked.promise.then(() => false);
    const join = () => stranger.join(invitation.addresses, { confirm });
    const error = await assertRejects(() => withTimeout(join(), "a no", 60), PairingError);
    assertEquals(error.code, "NOT_CONFIRMED");
    if (count === 5) break;
    const { question } = await pairing.waitForEvent("unconfirmed", count);
    assertEquals([question.id, question.name], [stranger.id, stranger.name]);
    if (count > 1) continue;
    // The announcement, which ended with the question, begins again.
    const hasInviter = (list: readonly NearbyDevice[]) =>
      list.some(({ id }) => id === shortIdOf(inviter));
    const options = { service: "degu-pair", logger: SILENT, seconds: 60, onChange: hasInviter };
    assert(hasInviter(await nearby(found, options)));
  }
  const error = await assertRejects(() => withTimeout(pairing.paired, "it ends"), PairingError);
  assertEquals([error.code, error.reason], ["NOT_OPEN", "no numbers left"]);
});

Deno.test("after five numbers of strangers, pair lasts as long as the announcement of another device", async () => {
  await using test = await setUp("camera", "lamp");
  await using strangers = await makeDevices("stranger");
  const [found, inviter] = test.devices;
  const port = await findUnusedPort();
  // The waits before an attempt to join, and before the used numbers count.
  using _timeouts = speedUpTimeouts((milliseconds) => milliseconds > 2000 && milliseconds <= 5000);
  const announcement = test.announce(found, port);
  await withTimeout(announcement.announced, "it is announced");
  await using pairing = startPairing(inviter);
  const { invitation } = await pairing.waitForEvent("open");
  const [, invitingPort] = invitation.addresses[0] as HostAddress;
  const addresses = [["127.0.0.1", invitingPort]] as const;
  await pairing.waitForEvent("unreached");
  for (let count = 0; count < 5; count++) {
    using joiner = await RawJoiner.commit({ addresses }, strangers.stranger);
    joiner.stranger.post("/random", {});
    await joiner.stranger.waitForEnd();
  }
  for (let count = 0; count < 2; count++) {
    await withTimeout(test.waitForConnect(port), "the next attempt", 60);
  }
  await announcement[Symbol.asyncDispose]();
  const error = await assertRejects(() => withTimeout(pairing.paired, "it ends"), PairingError);
  assertEquals([error.code, error.reason], ["NOT_OPEN", "no numbers left"]);
});

Deno.test("after ten seconds without another device, pair reports its addresses, at which a device joins", async () => {
  await using test = await setUp("camera", "lamp");
  const [camera, lamp] = test.devices;
  using timeouts = captureTimeouts(10_000);
  const asked = Promise.withResolvers<void>();
  await using pairing = startPairing(camera, {
    confirm: (question) => {
      asked.resolve();
      return waitInVain(question);
    },
  });
  const { invitation } = await pairing.waitForEvent("open");
  assertEquals([timeouts.end(), pairing.typesOf()], [1, ["open"]]);
  assertEquals((await pairing.waitForEvent("alone")).addresses, invitation.addresses);
  // The device that joins is expected, so its no ends the call.
  const joining = lamp.join(invitation.addresses, {
    confirm: () => asked.promise.then(() => false),
  });
  await assertRejects(() => withTimeout(joining, "a no"), PairingError);
  const error = await assertRejects(() => withTimeout(pairing.paired, "it ends"), PairingError);
  assertEquals([error.code, error.reason], ["NOT_CONFIRMED", "remote"]);
});

Deno.test("a device with another id than the announced id shows no number", async () => {
  await using test = await setUp("camera", "lamp", "radio");
  const [camera, lamp, radio] = test.devices;
  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]], confirm: waitInVain });
  const device = { name: "radio", id: shortIdOf(radio), addresses: invitation.addresses as never };
  const confirm = () => {
    throw new Error("asked");
  };
  const join = () => joinNearby(lamp, device, { confirm });
  const error = await assertRejects(join, PairingError, `${camera.name} (${camera.id}) answers`);
  assertEquals([error.code, error.reason], ["BAD_ANSWER", "other id"]);
});
