/**
 * The plain port of an invitation, which gives out the authority, and answers devices that pair by
 * a number. Nothing here is secret, and nobody is known: only the number, which two people compare,
 * vouches for the messages.
 */

import type { HostAddress, ResponseTuple } from "../base.ts";
import type { AppObject, Logger, Request, ServerSslctx, Session } from "../server.ts";
import { pause } from "../internal/pause.ts";
import { type DeviceAuthority, readAuthorityDer } from "./identity/authority.ts";
import { untilAborted } from "../net/connect.ts";
import { plainMessageOf } from "../net/error_text.ts";
import type { DeviceServices } from "./device_services.ts";
import { PairingError } from "./errors.ts";
import {
  AUTHORITY_URI,
  COMMITMENT,
  COMMITMENT_URI,
  commitmentTo,
  decodeMessage,
  encodeMessage,
  HASH_BYTES,
  makeRandom,
  type Message,
  numberOf,
  RANDOM_URI,
  readMessage,
  REVEALED,
} from "./pairing_messages.ts";
import {
  type LineEvent,
  type LineState,
  MAX_TRIES,
  NUMBER,
  type NumberEvent,
  type NumberState,
  PairingState,
} from "./pairing_state.ts";
import { hangUp, type PairingClient, PairingClients } from "./pairing_clients.ts";

/** The question to a person who compares the number. */
export interface PairingQuestion {
  /** Six digits: the other device shows the same, unless somebody stands between the two. */
  readonly number: string;
  /** The name of the other device, as it says itself. */
  readonly name: string;
  /** The id of the other device. */
  readonly id: string;
  /**
   * Aborted when the answer is not wanted any more. A listener must not throw: nothing catches the
   * error, and the process would end.
   */
  readonly signal: AbortSignal;
}

/** Asks whether the other device shows the same number. Only `true` confirms. */
export type ConfirmNumber = (question: PairingQuestion) => boolean | Promise<boolean>;

/** How long a joiner may take to reveal its random value. */
const REVEAL_MILLISECONDS = 5000;
/** How long both people have, and the joiner to come back. */
export const CONFIRM_SECONDS = 120;

/** A number, from the commitment that asks for it: a try once the commitment is answered. */
export class Try {
  readonly #state: PairingState<NumberState, NumberEvent>;
  /** The answer, as it was sent. */
  response: Uint8Array = new Uint8Array();
  /** Aborted when the number is over. */
  readonly over = new AbortController();
  /** Resolved when both devices have confirmed; rejected when the number is over before. */
  readonly confirmed = Promise.withResolvers<void>();
  /** The plain session, and the session over TLS in which the device comes back. */
  readonly sessions: Session[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param request The commitment, as it was sent. */
  constructor(
    readonly authority: DeviceAuthority,
    readonly introduction: Message<typeof COMMITMENT>,
    readonly request: Uint8Array,
    logger: Pick<Logger, "error">,
  ) {
    this.#state = new PairingState(NUMBER, "opened", (bug) => {
      logger.error(`invitation: ${bug}`);
    });
    this.confirmed.promise.catch(() => {});
  }

  get state(): NumberState {
    return this.#state.now;
  }

  /** Enters the state that follows an event; for the end, call {@linkcode end}. */
  on(event: Exclude<NumberEvent, "ends">): NumberState {
    const state = this.#state.on(event);
    if (state === "confirmed") this.confirmed.resolve();
    if (state === "storing") clearTimeout(this.#timer);
    return state;
  }

  /** Makes the number end with this session. */
  add(session: Session): void {
    const { signal } = session;
    this.sessions.push(session);
    signal.addEventListener("abort", () => this.end(signal.reason));
    if (signal.aborted) this.end(signal.reason);
  }

  /** Ends the number unless the next step comes in time. */
  limit(milliseconds: number, reason: Error): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.end(reason), milliseconds);
  }

  /** Ends the number, unless the peer is being stored. */
  end(reason: unknown): void {
    if (this.#state.on("ends") !== "over" || this.over.signal.aborted) return;
    clearTimeout(this.#timer);
    this.confirmed.reject(reason);
    this.over.abort(reason);
    // Only the plain session is closed: over TLS the joiner gets an answer, so that it can tell a
    // no from a lost answer.
    this.sessions[0]?.close(reason);
  }
}

/** What all plain ports of an invitation share. */
export class PlainPort {
  readonly #services: DeviceServices;
  readonly #trust: (sslctx: ServerSslctx) => void;
  readonly #findAddresses: () => Promise<HostAddress[]>;
  readonly #confirm: ConfirmNumber | undefined;
  readonly #line: PairingState<LineState, LineEvent>;
  readonly #clients = new PairingClients();
  readonly #exhausted = Promise.withResolvers<void>();
  #current: Try | null = null;
  #tries = 0;

  /**
   * @param line Nobody can pair by a number any more once the line is answered or over.
   * @param trust Replaces the trust of the ports for TLS: while a try is open, they ask for the
   * certificate of the device.
   * @param confirm Without it nobody can pair by a number.
   */
  constructor(
    services: DeviceServices,
    line: PairingState<LineState, LineEvent>,
    trust: (sslctx: ServerSslctx) => void,
    findAddresses: () => Promise<HostAddress[]>,
    confirm: ConfirmNumber | undefined,
  ) {
    this.#services = services;
    this.#line = line;
    this.#trust = trust;
    this.#findAddresses = findAddresses;
    this.#confirm = confirm;
  }

  /** The try that is open, or the last one. */
  get current(): Try | null {
    return this.#current;
  }

  /** Resolves when no more numbers are shown, because so many were not confirmed. */
  get exhausted(): Promise<void> {
    return this.#exhausted.promise;
  }

  /** Answers the requests at one plain port; the port of TLS is beside it. */
  app(port: number): AppObject {
    return {
      onConnect: (session, socket) => this.#clients.welcome(session, socket),
      handle: (request, session) => this.#answer(request, session, port),
    };
  }

  async #answer(request: Request, session: Session, port: number): Promise<ResponseTuple> {
    const { method, uri, body, headers } = request;
    const client = this.#clients.of(session);
    // A web page must not be able to use this port.
    if (client === undefined || "origin" in headers) return hangUp(session);
    if (method === "GET" && uri === AUTHORITY_URI && body === null) {
      const type = { "content-type": "application/pkix-cert" };
      return [200, "OK", type, this.#services.identity.authority.raw];
    }
    const bytes = this.#confirm === undefined ? null : await readMessage(request);
    if (bytes === null) return hangUp(session);
    try {
      if (uri === COMMITMENT_URI) return await this.#commit(bytes, client, port);
      if (uri === RANDOM_URI) return this.#reveal(bytes, client);
    } catch (error) {
      return hangUp(session, error);
    }
    return hangUp(session);
  }

  /**
   * Answers a commitment, which is a try. Nothing is awaited between looking for another one and
   * noting it.
   */
  async #commit(bytes: Uint8Array, client: PairingClient, port: number): Promise<ResponseTuple> {
    const { session } = client;
    const { identity, name, logger } = this.#services;
    const introduction = decodeMessage(bytes, COMMITMENT);
    const authority = readAuthorityDer(introduction.authority);
    if (!client.isWaiting) return hangUp(session);
    const reason = authority.id === identity.authority.id
      ? "self"
      : (this.#current?.state ?? "over") !== "over"
      ? "busy"
      : !["open", "claimed"].includes(this.#line.now) || this.#tries === MAX_TRIES
      ? "closed"
      : null;
    if (reason !== null) return [409, "Conflict", {}, encodeMessage({ reason })];
    const opened = this.#current = new Try(authority, introduction, bytes, logger);
    opened.over.signal.addEventListener("abort", () => this.#release(opened));
    this.#clients.keep(client);
    opened.add(session);
    const addresses = await this.#findAddresses();
    if (opened.on("answered") === "over") return hangUp(session);
    this.#tries++;
    const late = new Deno.errors.TimedOut("the joiner has not revealed its random value in 5 s");
    opened.limit(REVEAL_MILLISECONDS, late);
    this.#trust(identity.openContext(authority));
    const random = makeRandom(HASH_BYTES);
    opened.response = encodeMessage({
      authority: identity.authority.raw,
      name,
      addresses,
      random,
      port,
    });
    return [200, "OK", {}, opened.response];
  }

  #reveal(bytes: Uint8Array, { session }: PairingClient): ResponseTuple {
    const opened = this.#current;
    if (opened?.state !== "answered" || opened.sessions[0] !== session) return hangUp(session);
    const { random } = decodeMessage(bytes, REVEALED);
    const { authority, introduction, request, response } = opened;
    const isCommitted = commitmentTo(authority.raw, random)
      .every((byte, index) => byte === introduction.commitment[index]);
    if (!isCommitted) return hangUp(session);
    opened.on("revealed");
    opened.limit(CONFIRM_SECONDS * 1000, new Deno.errors.TimedOut("no answer within 120 s"));
    this.#ask(opened, numberOf(request, response, random));
    return [200, "OK", {}, encodeMessage({})];
  }

  /** Asks the person here, as long as the try is open. */
  async #ask(opened: Try, number: string): Promise<void> {
    const { over: { signal }, authority: { id }, introduction: { name } } = opened;
    // The response goes first: a function that blocks the process would hold it up.
    await pause(0, signal);
    if (signal.aborted) return;
    try {
      const question = Object.freeze({ number, name, id, signal });
      const isConfirmed = await untilAborted(this.#confirm!(question), signal) === true;
      if (isConfirmed) opened.on("accepted");
      else opened.end(notConfirmedError(name));
    } catch (error) {
      if (signal.aborted) return;
      this.#services.logger.error(`invitation: confirm has failed: ${plainMessageOf(error)}`);
      opened.end(notConfirmedError(name, { cause: error }));
    }
  }

  /** A try is over without a pairing. */
  #release({ authority: { id }, introduction: { name }, response, over }: Try): void {
    const { identity, logger } = this.#services;
    this.#trust(identity.openContext());
    // A joiner who leaves before the answer has had no try, and could fill the log.
    if (response.length === 0) return;
    const why = plainMessageOf(over.signal.reason);
    logger.info(`invitation: not paired by a number with ${name} (${id}): ${why}`);
    if (this.#tries < MAX_TRIES) return;
    const problem =
      `${MAX_TRIES} numbers were not confirmed, so there are no more: invite again, or use the line`;
    logger.warn(`invitation: ${problem}`, { error: new PairingError("NOT_OPEN", problem) });
    this.#exhausted.resolve();
  }
}

/** Creates the reason of a try that ends with a no of the person at this device. */
function notConfirmedError(peerName: string, options?: ErrorOptions): PairingError {
  const all = { ...options, reason: "local", peerName } as const;
  return new PairingError("NOT_CONFIRMED", "not confirmed here", all);
}
