/**
 * Trust that changes while a server runs: clients that stay trusted are not affected, and others are
 * refused.
 */

import { buildServerSslctx, type ServerSslconfig } from "@degu/degu";
import type { Swapping } from "./servers.ts";
import { pause, type Run, type Tally } from "./traffic.ts";

const GUESTS = 2;

/** Whom the server trusts at the moment. */
interface Trust {
  version: number;
  guest: boolean;
}

/** Swaps the contexts of a server at random, and lets the guest connect meanwhile. */
export async function runSwaps(swapping: Swapping, run: Run): Promise<void> {
  const trust: Trust = { version: 0, guest: false };
  const guests = Array.from({ length: GUESTS }, () => runGuest(swapping, trust, run));
  await swapAtRandom(swapping, trust, run);
  await Promise.all(guests);
}

async function swapAtRandom(
  swapping: Swapping,
  trust: Trust,
  { random, tally, signal }: Run,
): Promise<void> {
  const { server, withGuest, withoutGuest } = swapping;
  const contexts = { true: buildServerSslctx(withGuest), false: buildServerSslctx(withoutGuest) };
  const bad: ServerSslconfig = { ...withGuest, certFile: `${withGuest.certFile}.missing` };
  while (!signal.aborted) {
    const guest = random.below(2) === 0;
    const before = server.sslctx;
    if (random.below(5) === 0) {
      try {
        server.setSslctx(bad);
        tally.failures.push("setSslctx: took a certificate that is missing");
      } catch {
        tally.count("server: a context that can't be built");
      }
      if (server.sslctx !== before) tally.failures.push("setSslctx: threw, and has changed");
    }
    const config = guest ? withGuest : withoutGuest;
    server.setSslctx(random.below(2) === 0 ? contexts[`${guest}`] : config);
    trust.version++;
    trust.guest = guest;
    tally.count(`server: a context ${guest ? "with" : "without"} the guest`);
    if (!guest && random.below(2) === 0) closeGuests(swapping, tally);
    // Now and then long enough for whole connections under one and the same context.
    const most = random.chance(50) ? 100 : 2000;
    await pause(random.below(most));
  }
}

/** Ends the live sessions of the guest, as whoever withdraws trust does. */
function closeGuests({ server, guestKey }: Swapping, tally: Tally): void {
  for (const session of server.sessions) {
    if (session.peerCertificate?.authority?.publicKey256 !== guestKey) continue;
    session.close();
    tally.count("server: a session of the guest closed");
  }
}

/** Connects as the guest, who has to be let in just while it is trusted. */
async function runGuest(
  { guest }: Swapping,
  trust: Trust,
  { tally, signal }: Run,
): Promise<void> {
  while (!signal.aborted) {
    const { version, guest: isTrusted } = trust;
    let problem: unknown = null;
    try {
      await guest.request("GET", "/data?seed=1&size=1&kind=array", { checksum: "0-0" });
    } catch (error) {
      problem = error;
    }
    if (version !== trust.version) {
      tally.count("guest: its trust has changed meanwhile");
    } else if (isTrusted !== (problem === null)) {
      tally.failures.push(`guest, trusted: ${isTrusted}: ${Deno.inspect(problem)}`);
    } else {
      tally.count(`guest: ${isTrusted ? "trusted, answered" : "not trusted, refused"}`);
    }
    await pause(5);
  }
}
