import { type BodyIn, readerOf } from "../../base/body/body.ts";
import type { Interruption } from "../../base/body/body_reader.ts";
import { checkSignal, copyOptions, makeChoiceCheck } from "../../internal/checks.ts";
import type { ClientChannel } from "./client_channel.ts";

/** The settings of a single request: its signal, and when its promise resolves. */
export interface RequestOptions {
  /**
   * Aborts the request until the response's body is consumed, or the response has arrived without a
   * body, and the request has been sent. Pending operations and later reads of the body reject with
   * the signal's reason. The connection stays open and usable if no byte of the request was sent,
   * and closes otherwise. `AbortSignal.timeout(10_000)` limits the whole request, including
   * connecting, waiting in a pool, and the response's body.
   */
  signal?: AbortSignal | undefined;
  /**
   * What happens if the server responds before the whole request was sent. After a status of 400 or
   * above, the rest of the request is canceled in any case.
   *
   * - `"half"`: the request is sent to its end, then its promise resolves. If no byte is sent for
   *   the connection's `timeout`, the promise rejects.
   * - `"full"`: the promise resolves at once. The rest of the request is sent while the program
   *   reads the response: one request can be a stream in both directions.
   *
   * @default {"half"}
   */
  duplex?: "half" | "full" | undefined;
}

const NO_OPTIONS: RequestOptions = {};
const OPTION_NAMES = ["signal", "duplex"];
const checkDuplex = makeChoiceCheck("half", "full");

export function parseRequestOptions(options: RequestOptions | undefined): RequestOptions {
  if (options === undefined || options === NO_OPTIONS) return NO_OPTIONS;
  const copy = copyOptions(options, OPTION_NAMES);
  checkSignal("signal", copy.signal);
  if (copy.duplex !== undefined) checkDuplex("duplex", copy.duplex);
  return copy;
}

/**
 * A signal may live forever, so the link must not keep the connection or a body from being garbage
 * collected.
 */
export class RequestAbort {
  readonly #channel: ClientChannel;
  #signal: AbortSignal | null = null;
  #interruption: Interruption | null = null;
  hasFired = false;

  constructor(channel: ClientChannel) {
    this.#channel = channel;
    channel.transport.addCloseListener(() => this.end());
  }

  /** Starts listening to the signal of a request, which must not be aborted yet. */
  begin(signal: AbortSignal): void {
    this.hasFired = false;
    this.#signal = signal;
    signal.addEventListener("abort", this.#onAbort);
  }

  attachBody(body: NonNullable<BodyIn>): void {
    if (this.#signal !== null) this.#interruption = readerOf(body).interruption;
  }

  end(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#signal = this.#interruption = null;
  }

  readonly #onAbort = (): void => {
    const { reason } = this.#signal!;
    const interruption = this.#interruption;
    this.end();
    this.hasFired = true;
    const { protocol, transport, sender } = this.#channel;
    if (protocol.exchange?.outgoing === "unsent") {
      sender.cancelBody(reason);
    } else {
      transport.close(reason);
      interruption?.abort(reason);
    }
  };
}
