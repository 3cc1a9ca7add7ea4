/**
 * The side of a pairing that has made the invitation.
 *
 * @module
 */

import { DeguError } from "../base/errors.ts";
import type { Request, ResponseTuple } from "../base/app/message.ts";
import type { Address } from "../base/address_rules.ts";
import type { Session } from "../base/app/session.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { type Authority, hasSigned, readAuthority } from "./authority.ts";
import { LimitedWarning } from "./limited_warning.ts";
import {
  type Answer,
  decodeIntroduction,
  decodeSecret,
  decodeValue,
  encodeAnswer,
  type Introduction,
  isSameSecret,
  makeRandom,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import { PairingPort, type Visit } from "./pairing_port.ts";
import type { DeviceParts } from "./parts.ts";
import type { Peer } from "./peer.ts";
import { scopeOfConnection, withScope } from "./received_addresses.ts";

/** How long the joiner may keep its connection open after the last answer. */
const LAST_MILLISECONDS = 2000;

/** Options of an inviter. */
export interface InviterOptions {
  /** What the user calls the other device. */
  readonly peerName: string | undefined;
  /** Returns the addresses of this device that the answer carries. */
  readonly findAddresses: () => Promise<Answer["addresses"]>;
}

/** The device that sent the right secret. */
interface Joiner {
  readonly authority: Authority;
  readonly introduction: Introduction;
  /** The answer to the first request, with the value that the second one must carry. */
  readonly answer: Answer;
}

/**
 * How far the pairing is: nobody has sent the secret; somebody has, and what came with it is being checked; that device
 * has the answer, and may come back with its certificate; it did, and nobody else can be paired any more.
 */
type Stage = "open" | "claimed" | Joiner | "storing";

/**
 * Pairs with the first device that has the line, in two steps. In the first the joiner sends the secret and
 * its authority, in the second it connects with a certificate of that authority, so every certificate is
 * verified by the TLS library. Nothing is stored before the second.
 */
export class Inviter {
  /** The secret in the line. */
  readonly secret: Uint8Array = makeRandom();
  /** The paired device. Awaiting it is optional: a rejection is never unhandled. */
  readonly paired: Promise<Peer>;
  readonly #parts: DeviceParts;
  readonly #options: InviterOptions;
  readonly #port: PairingPort;
  readonly #wrong: LimitedWarning;
  readonly #late: LimitedWarning;
  readonly #refused: LimitedWarning;
  readonly #outcome = Promise.withResolvers<Peer>();
  #stage: Stage = "open";
  #ending: Promise<void> | null = null;

  /** Creates an inviter that listens nowhere yet. */
  constructor(parts: DeviceParts, options: InviterOptions) {
    this.#parts = parts;
    this.#options = options;
    const warning = (format: (last: string, count: number) => string) =>
      new LimitedWarning(parts.logger, (last, count) => `invitation: ${format(last, count)}`);
    this.#wrong = warning((who, count) =>
      `wrong secret from ${who}; ${count} wrong so far; it stays open`
    );
    this.#late = warning((who) =>
      `${who} has the right secret, but another device was first: somebody else may have seen the line; ` +
      "check which device this one is paired with now"
    );
    this.#refused = warning((what, count) =>
      `the right secret, but refused: ${what}; ${count} refused so far; it stays open`
    );
    this.#port = new PairingPort(
      () => parts.sslconfig(),
      (request, visit) => this.#answer(request, visit),
      parts.logger,
    );
    this.paired = this.#outcome.promise;
    this.paired.catch(() => {});
  }

  /** Listens on an address; resolves to that address with its port. */
  open(address: Address): Promise<Address> {
    return this.#port.open(address);
  }

  /**
   * Closes the ports and rejects {@linkcode paired} with the reason; a pairing that is being stored is
   * completed first. Resolves when the ports are free.
   */
  async close(reason: unknown): Promise<void> {
    // A stored entry can't be taken back: the other device may have the answer already.
    if (this.#stage === "storing") await this.paired.catch(() => {});
    await this.#end(() => this.#outcome.reject(reason));
  }

  #end(settle: () => void): Promise<void> {
    // Not at once: closing the port ends sessions, and that may call this again.
    this.#ending ??= Promise.resolve().then(() => this.#free()).finally(settle);
    return this.#ending;
  }

  async #free(): Promise<void> {
    for (const each of [this.#wrong, this.#late, this.#refused]) each.stop();
    await this.#port.close();
  }

  async #answer(request: Request, visit: Visit): Promise<ResponseTuple> {
    const { method, uri, body, headers } = request;
    const isKnown = method === "POST" && body !== null && "content-length" in headers;
    const bytes = isKnown ? await body.bytes() : null;
    if (bytes !== null && this.#ending === null) {
      if (uri === SECRET_URI) return await this.#answerSecret(bytes, visit);
      if (uri === VALUE_URI) return await this.#answerValue(bytes, visit);
    }
    return this.#refuse(visit);
  }

  /** The first step. Nothing is awaited between comparing the secret and noting its use. */
  async #answerSecret(bytes: Uint8Array, visit: Visit): Promise<ResponseTuple> {
    const secret = decodeSecret(bytes);
    if (secret === null || !isSameSecret(secret, this.secret)) return this.#refuse(visit);
    const { session } = visit;
    if (this.#stage !== "open") {
      this.#late.add(String(session));
      return hangUp(session);
    }
    this.#stage = "claimed";
    this.#port.settle(session);
    this.#port.limit(session);
    let joiner: Joiner;
    try {
      this.#stage = joiner = await this.#admit(bytes, session);
    } catch (error) {
      this.#stage = "open";
      this.#refused.add(`${session}: ${plainMessageOf(error)}`);
      return [403, "Forbidden", {}, null];
    }
    return [200, "OK", {}, encodeAnswer(joiner.answer)];
  }

  /** Checks what the device with the right secret sent, and closes the port to all others. */
  async #admit(bytes: Uint8Array, session: Session): Promise<Joiner> {
    const introduction = decodeIntroduction(bytes);
    const authority = await readAuthority(introduction.authority);
    if (authority.id === this.#parts.id) {
      throw new RangeError(
        "it sent the authority of this device: it is this device, or a copy of it",
      );
    }
    const addresses = await this.#options.findAddresses();
    const answer = { value: makeRandom(), name: this.#parts.name, addresses };
    this.#port.trustOnly(authority.certificate, session);
    return { authority, introduction, answer };
  }

  /** The second step: the TLS library has verified that the joiner has its authority's key. */
  async #answerValue(bytes: Uint8Array, visit: Visit): Promise<ResponseTuple> {
    const joiner = this.#stage;
    const certificate = visit.session.peerCertificate;
    if (typeof joiner === "string" || certificate === null) return this.#refuse(visit);
    const isSigner = certificate.authority?.publicKey256 === joiner.authority.publicKey256 &&
      hasSigned(joiner.authority.certificate, certificate.raw);
    const value = decodeValue(bytes);
    if (!isSigner || value === null) return this.#refuse(visit);
    if (!isSameSecret(value, joiner.answer.value)) return this.#refuse(visit);
    this.#stage = "storing";
    this.#port.settle(visit.session);
    this.#port.limit(visit.session, null);
    return await this.#write(joiner, visit);
  }

  async #write(joiner: Joiner, { session, socket }: Visit): Promise<ResponseTuple> {
    const { authority, introduction: { name: receivedName, addresses } } = joiner;
    const { peers, logger } = this.#parts;
    try {
      const peer = await peers.record({
        authority,
        receivedName,
        peerName: this.#options.peerName,
        addresses: withScope(addresses, () => scopeOfConnection(session.address, socket)),
      });
      logger.info(`invitation: paired with ${peer.name} (${peer.id})`);
      this.#finish(session, () => this.#outcome.resolve(peer));
      return [204, "No Content", {}, null];
    } catch (error) {
      logger.warn(`invitation: the pairing can't be stored: ${plainMessageOf(error)}`);
      this.#finish(session, () => this.#outcome.reject(error));
      return hangUp(session);
    }
  }

  /** Waits until the joiner has closed its connection, for a limited time, then closes the ports. */
  #finish({ signal }: Session, settle: () => void): void {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      this.#end(settle);
    };
    const timer = setTimeout(end, LAST_MILLISECONDS);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  }

  /** Counts a wrong request, and closes its connection without a response. */
  #refuse({ session }: Visit): ResponseTuple {
    this.#wrong.add(String(session));
    return hangUp(session);
  }
}

/** Closes a connection; the response it returns is never sent. */
function hangUp(session: Session): ResponseTuple {
  session.close(new DeguError("the connection was refused"));
  return [403, "Forbidden", {}, null];
}
