import type { Bodies, BodyIn } from "../base/body/bodies.ts";
import type { BodyOutcome, BodySource } from "../base/body/body_source.ts";
import type { ReadBuffer } from "../base/body/byte_io.ts";
import { isInstance } from "../internal/caught_errors.ts";
import { HiddenProperty } from "../internal/error_details.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Transport } from "./transport.ts";

/**
 * A body that was not read to its end closes the connection, unless a server can still send an
 * error response. The body references this function, and so keeps its connection alive.
 */
export type OnBodyEnd = (outcome: BodyOutcome, error?: unknown) => void;

export function makeIncomingBody(
  bodies: Bodies,
  transport: Transport,
  onBodyEnd: OnBodyEnd,
  kind: "request" | "response",
  framing: Framing,
): BodyIn {
  if (framing === null) return null;
  const source = new ConnectionSource(transport, onBodyEnd, kind);
  if (framing === "chunked") return new bodies.ChunkedBody(source);
  return new bodies.Body(source, framing);
}

const brokenBodyMark: HiddenProperty<true> = new HiddenProperty();

export function isBrokenBodyError(error: unknown): boolean {
  return brokenBodyMark.get(error) === true;
}

class ConnectionSource implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer;
  readonly #transport: Transport;
  /** `null` once the body has ended, so that the body doesn't keep its connection alive. */
  #onBodyEnd: OnBodyEnd | null;

  constructor(transport: Transport, onBodyEnd: OnBodyEnd, kind: "request" | "response") {
    this.kind = kind;
    this.buffer = transport.readBuffer;
    this.#transport = transport;
    this.#onBodyEnd = onBodyEnd;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#transport.read(into);
  }

  waitForReadAhead(): Promise<void> {
    return this.#transport.waitForReadAhead();
  }

  onEnd(outcome: BodyOutcome, error?: unknown): void {
    const onBodyEnd = this.#onBodyEnd;
    this.#onBodyEnd = null;
    if (outcome === "consumed") this.buffer.shrink();
    if (outcome === "broken" && isInstance(error, Error)) brokenBodyMark.set(error, true);
    onBodyEnd?.(outcome, error);
  }
}
