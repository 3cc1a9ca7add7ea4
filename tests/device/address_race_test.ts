import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { raceAddresses } from "@degu/internal/device/address_race.ts";

const addresses = [1, 2, 3, 4].map((port): Address => ["127.0.0.1", port]);
const portOf = (address: Address) => (address as [string, number])[1];
const discard = () => {};

/** Rejects with the reason of its signal, and never otherwise. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

Deno.test("a race that succeeds with the first address tries no other", async () => {
  const tried: number[] = [];
  const won = await raceAddresses(addresses, (address) => {
    tried.push(portOf(address));
    return Promise.resolve(portOf(address));
  }, { discard });
  assertEquals([won, tried], [1, [1]]);
});

Deno.test("a race tries the next address at once when one fails", async () => {
  const begin = performance.now();
  const won = await raceAddresses(addresses, (address) => {
    const port = portOf(address);
    return port < 4 ? Promise.reject(new Error(`${port}`)) : Promise.resolve(port);
  }, { discard });
  assertEquals(won, 4);
  assert(performance.now() - begin < 250, "it waited for its stagger");
});

Deno.test("a race tries the next address 250 ms after one that does not answer", async () => {
  const begin = performance.now();
  const began: number[] = [];
  const won = await raceAddresses(addresses, (address, signal) => {
    began.push(performance.now() - begin);
    return portOf(address) === 3 ? Promise.resolve(3) : untilAborted(signal);
  }, { discard });
  assertEquals(won, 3);
  assertEquals(began.length, 3);
  // Timers may be early by a part of a millisecond, and late by any time.
  assert(began[1]! >= 249 && began[2]! - began[1]! >= 249, `${began}`);
});

Deno.test("a race aborts the losers, and discards their results", async () => {
  const discarded: number[] = [];
  const late = Promise.withResolvers<number>();
  const reasons: unknown[] = [];
  const won = await raceAddresses(addresses.slice(0, 2), (address, signal) => {
    if (portOf(address) === 2) return Promise.resolve(2);
    signal.addEventListener("abort", () => reasons.push(signal.reason));
    return late.promise;
  }, { discard: (loser) => discarded.push(loser) });
  assertEquals(won, 2);
  assertEquals((reasons[0] as Error).name, "AbortError");
  late.resolve(1);
  await late.promise;
  await Promise.resolve();
  assertEquals(discarded, [1]);
});

Deno.test("of two attempts that succeed at the same moment, or when the race is aborted, no result is lost", async () => {
  for (const isAborted of [false, true]) {
    const discarded: number[] = [];
    const both = Promise.withResolvers<void>();
    const controller = new AbortController();
    const racing = raceAddresses(addresses.slice(0, 2), async (address) => {
      if (portOf(address) === 1) await both.promise;
      else both.resolve();
      await both.promise;
      return portOf(address);
    }, { discard: (loser) => discarded.push(loser), signal: controller.signal });
    if (isAborted) {
      const failing = assertRejects(() => racing);
      both.resolve();
      controller.abort(new Error("enough"));
      await failing;
      assertEquals(discarded, [1]);
    } else {
      const won = await racing;
      await Promise.resolve();
      assertEquals([won, ...discarded].toSorted(), [1, 2]);
    }
  }
});

Deno.test("a race that fails everywhere rejects with all errors in the order of the addresses", async () => {
  const error = await assertRejects(
    () =>
      raceAddresses(addresses, (address) => {
        const port = portOf(address);
        // The first one is the last to fail.
        return port === 1
          ? new Promise((_, reject) => setTimeout(() => reject(new Error("1")), 20))
          : Promise.reject(new Error(`${port}`));
      }, { discard }),
    AggregateError,
    "could not connect to any address",
  );
  // Address 1 says nothing for a while, so 2 begins after the stagger only where that is longer.
  assertEquals(error.errors.map((each: Error) => each.message), ["1", "2", "3", "4"]);
});

Deno.test("a race without addresses rejects with no errors", async () => {
  const error = await assertRejects(
    () => raceAddresses([], () => Promise.resolve(1), { discard }),
    AggregateError,
  );
  assertEquals(error.errors, []);
});

Deno.test("a race rejects with the reason of its signal, and aborts pending attempts", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const aborted: unknown[] = [];
  const racing = raceAddresses(addresses, (_, signal) => {
    signal.addEventListener("abort", () => aborted.push(signal.reason));
    return untilAborted(signal);
  }, { discard, signal: controller.signal });
  controller.abort(reason);
  assertEquals(await assertRejects(() => racing), reason);
  assertEquals(aborted, [reason]);
  let tried = 0;
  await assertRejects(() =>
    raceAddresses(addresses, () => Promise.resolve(++tried), {
      discard,
      signal: controller.signal,
    })
  );
  assertEquals(tried, 0);
});

Deno.test("a race treats an attempt that throws synchronously as failed", async () => {
  const won = await raceAddresses(addresses, (address) => {
    if (portOf(address) === 1) throw new Error("at once");
    return Promise.resolve(portOf(address));
  }, { discard });
  assertEquals(won, 2);
});
