/** The addresses of a device are tried in parallel (RFC 8305 §5); the first connection wins. */
import type { Address } from "@degu/degu/base";
import { raceAddresses } from "@degu/internal/device/device_connect.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { assert, assertEquals } from "@std/assert";

type Attempt = (port: number, signal: AbortSignal) => unknown;

/** Tries the ports from 1 on, and records the attempts, their times, and the closed sockets. */
function race(attempt: Attempt, count = 4, signal?: AbortSignal) {
  const addresses = Array.from({ length: count }, (_, i): Address => ["127.0.0.1", i + 1]);
  const begin = performance.now();
  const startedPorts: number[] = [];
  const closedSockets: unknown[] = [];
  const racing = raceAddresses(addresses, async ([, port], signal) => {
    startedPorts.push(performance.now() - begin);
    await attempt(Number(port), signal);
    return { close: () => closedSockets.push(port) };
  }, signal);
  const winner = racing.then(({ address }) => address[1]);
  return { begun: startedPorts, closed: closedSockets, winner };
}

/** Rejects with the reason of the signal when it is aborted. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

const fail = (port: number) => {
  throw new Error(`${port}`);
};

Deno.test("the first address that answers wins; the next is tried when one fails, or 250 ms later", async () => {
  const rows: [attempt: Attempt, wins: number, began: number, waited: number][] = [
    [() => {}, 1, 1, 0],
    [(port) => port < 4 && fail(port), 4, 4, 0],
    [(port, signal) => port < 4 && untilAborted(signal), 4, 4, 3],
  ];
  using timeouts = speedUpTimeouts(() => false);
  for (const [attempt, wins, began, waited] of rows) {
    const { winner, begun: startedPorts, closed: closedSockets } = race(attempt);
    assertEquals([await winner, startedPorts.length, closedSockets], [wins, began, []]);
    const took = startedPorts.at(-1)!;
    // Timers may fire a fraction of a millisecond early, or late.
    assert(waited === 0 ? took < 250 : took >= waited * 249, `${startedPorts}`);
  }
  assertEquals(new Set(timeouts.started), new Set([250]));
});

Deno.test("the other attempts are aborted, and their later connections are closed", async () => {
  const lateConnection = Promise.withResolvers<void>();
  const reasons: unknown[] = [];
  const { winner, closed: closedSockets } = race((port, signal) => {
    if (port === 2) return;
    signal.addEventListener("abort", () => reasons.push(signal.reason.name));
    return lateConnection.promise;
  }, 2);
  assertEquals([await winner, reasons, closedSockets], [2, ["AbortError"], []]);
  lateConnection.resolve();
  await lateConnection.promise;
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(closedSockets, [1]);
});

Deno.test("no socket is leaked if two attempts succeed at the same moment, or if the race is aborted", async () => {
  for (const isAborted of [false, true]) {
    const bothConnected = Promise.withResolvers<void>();
    const controller = new AbortController();
    const { winner, closed: closedSockets } = race(
      (port) => {
        if (port === 2) bothConnected.resolve();
        if (port === 2 && isAborted) controller.abort(new Error("enough"));
        return bothConnected.promise;
      },
      2,
      controller.signal,
    );
    const won = await winner.catch(() => null);
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals([won === null, closedSockets.toSorted()], [
      isAborted,
      isAborted ? [1, 2] : [won === 1 ? 2 : 1],
    ]);
  }
});

Deno.test("a race that has ended doesn't listen to its signal, which can live as long as the device", async () => {
  for (const attempt of [() => {}, fail]) {
    const { signal } = new AbortController();
    const listeners = new Set<unknown>();
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (type: string, listener: EventListener) => {
      listeners.add(listener);
      addEventListener.call(signal, type, listener);
    };
    signal.removeEventListener = (type: string, listener: EventListener) => {
      listeners.delete(listener);
      removeEventListener.call(signal, type, listener);
    };
    const { winner } = race(attempt, 2, signal);
    assertEquals(listeners.size, 1);
    await winner.catch(() => {});
    assertEquals(listeners.size, 0);
  }
});
