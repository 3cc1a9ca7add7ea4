import type { Address } from "../../base/address.ts";
import { parseHost } from "../../base/host.ts";
import { plainMessageOf } from "../../internal/caught_errors.ts";
import { isWindows } from "../../internal/system.ts";
import type { Listener } from "../transport/listener.ts";
import type { SafeLogger } from "../../base/app/logger.ts";

export function needsDualStackListener(address: Address): boolean {
  return Array.isArray(address) && parseHost(`${address[0]}`)?.text === "::";
}

/**
 * Listens at `::` and at 0.0.0.0. On Windows, and on Linux if the sysctl `net.ipv6.bindv6only` is
 * 1, a socket at `::` doesn't accept IPv4. Otherwise, `::` also occupies the port of 0.0.0.0, and
 * only the first socket is used.
 */
export class DualStackListener implements Listener {
  readonly ready: Promise<void>;
  readonly #listen: (address: Address) => Listener;
  readonly #logger: SafeLogger<"info">;
  readonly #listeners: Listener[] = [];
  #isClosed = false;

  constructor(
    address: Address,
    listen: (address: Address) => Listener,
    logger: SafeLogger<"info">,
  ) {
    this.#listen = listen;
    this.#logger = logger;
    const ipv6Listener = listen(address);
    this.#listeners.push(ipv6Listener);
    if (this.#port === 0) {
      this.ready = ipv6Listener.ready.then(() => this.#isClosed ? undefined : this.#listenOnIpv4());
    } else {
      const ipv4Ready = this.#listenOnIpv4();
      this.ready = Promise.all([ipv6Listener.ready, ipv4Ready]).then(() => {});
    }
  }

  get address(): Address {
    return this.#listeners[0]!.address;
  }

  get #port(): unknown {
    return this.address[1];
  }

  #listenOnIpv4(): Promise<void> {
    const port = this.#port as number;
    const permission = { name: "net", host: `0.0.0.0:${port}` } as const;
    // Without the permission, listening could ask for it, and wait for the answer.
    if (!isWindows() && Deno.permissions.querySync(permission).state !== "granted") {
      this.#reportIpv4Failure(port, "the permission is missing");
      return Promise.resolve();
    }
    let ipv4Listener: Listener;
    try {
      ipv4Listener = this.#listen(["0.0.0.0", port]);
    } catch (error) {
      if (!isWindows()) return Promise.resolve(this.#reportIpv4Failure(port, error));
      this.close();
      throw error;
    }
    this.#listeners.push(ipv4Listener);
    if (isWindows()) return ipv4Listener.ready;
    return ipv4Listener.ready.catch((error) => {
      this.#listeners.pop();
      ipv4Listener.close();
      this.#reportIpv4Failure(port, error);
    });
  }

  #reportIpv4Failure(port: number, reason: unknown): void {
    // The socket at `::` accepts IPv4.
    if (reason instanceof Deno.errors.AddrInUse || this.#isClosed) return;
    this.#logger.info(
      `the server doesn't listen at 0.0.0.0:${port} (${plainMessageOf(reason)}), so it accepts ` +
        "IPv4 only if the socket at [::] does, as on Linux with net.ipv6.bindv6only=0",
    );
  }

  start(): void {
    for (const listener of this.#listeners) listener.start();
  }

  close(): void {
    this.#isClosed = true;
    for (const listener of this.#listeners) listener.close();
  }

  async waitUntilEnded(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.waitUntilEnded()));
  }
}
