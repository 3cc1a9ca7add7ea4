/**
 * The identity of an open device: loaded, and renewed as long as it is open.
 *
 * @module
 */

import { dirname } from "node:path";
import type { Logger } from "../net/standard_logger.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { type CertificateLife, openDevicePki } from "./device_pki.ts";
import { type Authority, readAuthorityText } from "./authority.ts";

/** A device's certificate and its key, as PEM text. */
export interface CertificateAndKey {
  readonly cert: string;
  readonly key: string;
}

/** What was read of an identity. */
interface Loaded extends CertificateAndKey {
  readonly authority: Authority;
  readonly dir: string;
}

/** The identity of a device. */
export class DeviceIdentity {
  /** The device's own authority, which does not change. */
  readonly authority: Authority;
  /** The directory that it is in. */
  readonly dir: string;
  readonly #load: () => Promise<Loaded>;
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  readonly #said: Set<string>;
  #current: CertificateAndKey;

  private constructor(
    loaded: Loaded,
    load: () => Promise<Loaded>,
    logger: Logger,
    said: Set<string>,
  ) {
    this.authority = loaded.authority;
    this.dir = loaded.dir;
    this.#current = loaded;
    this.#load = load;
    this.#logger = logger;
    this.#said = said;
  }

  /** Loads an identity, or creates it if there is none. */
  static async open(
    dir: string,
    name: string,
    life: CertificateLife,
    logger: Logger,
  ): Promise<DeviceIdentity> {
    const said = new Set<string>();
    const load = async () => await loadIdentity(dir, name, life, logger, said);
    return new DeviceIdentity(await load(), load, logger, said);
  }

  /** The certificate and the key as they are now. */
  get current(): CertificateAndKey {
    return { cert: this.#current.cert, key: this.#current.key };
  }

  /** Calls a function after each renewal, until the returned function is called. */
  onRenewal(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Renews the certificate if that is due, and loads one that another process has renewed. Never rejects. */
  async refresh(): Promise<void> {
    try {
      const loaded = await this.#load();
      if (loaded.authority.id !== this.authority.id) {
        throw new Error("the identity was replaced; open the device again");
      }
      if (loaded.cert === this.#current.cert && loaded.key === this.#current.key) return;
      this.#current = loaded;
      for (const listener of [...this.#listeners]) listener();
    } catch (error) {
      const message = `the identity of the device can't be looked at: ${plainMessageOf(error)}`;
      if (!this.#said.has(message)) this.#logger.error(message);
      this.#said.add(message);
    }
  }
}

async function loadIdentity(
  dir: string,
  name: string,
  life: CertificateLife,
  logger: Logger,
  said: Set<string>,
): Promise<Loaded> {
  const { caFile, certFile, keyFile, warnings } = await openDevicePki(dir, name, {}, life);
  for (const warning of warnings) {
    if (!said.has(warning)) logger.warn(warning);
    said.add(warning);
  }
  return {
    authority: await readAuthorityText(await Deno.readTextFile(caFile)),
    cert: await Deno.readTextFile(certFile),
    key: await Deno.readTextFile(keyFile),
    dir: dirname(certFile),
  };
}
