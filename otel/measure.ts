/**
 * One span and one duration for one request.
 *
 * @module
 */

import {
  type Attributes,
  type Context,
  context,
  diag,
  INVALID_SPAN_CONTEXT,
  metrics,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "npm:@opentelemetry/api@^1.9.0";
import { isMethod } from "../base/wire/preamble.ts";

const NAME = "@degu/degu";
/** Seconds, as the conventions recommend for the duration of requests. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** Which end of a connection a request is measured at, and which statuses count as errors there. */
const SIDES = {
  server: { kind: SpanKind.SERVER, metric: "http.server.request.duration", errorsFrom: 500 },
  client: { kind: SpanKind.CLIENT, metric: "http.client.request.duration", errorsFrom: 400 },
} as const;

/** What is known of a request before it is processed. */
export interface Measured {
  /** Which end measures it. */
  readonly side: keyof typeof SIDES;
  /** The method, which is the name of the span as well; a client may be given anything. */
  readonly method: string;
  /** Attributes of the span and of the metric. */
  readonly shared: Attributes;
  /** Attributes of the span alone: they have too many values for a metric. */
  readonly ofSpan: Attributes;
  /** The context whose span is the parent. */
  readonly parent: Context;
}

/**
 * Does what belongs to telemetry alone. An SDK or an exporter may fail, but no request fails for that: it
 * goes to the API's diagnostic logger.
 */
export function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch (error) {
    diag.error("@degu/degu/otel: telemetry fails", error);
    return otherwise;
  }
}

/**
 * Processes a request within a span, and records how long that took and how it ended.
 *
 * @throws what `process` does.
 */
export async function measure<T extends { readonly status: number }>(
  { side, method, shared, ofSpan, parent }: Measured,
  process: (context: Context) => T | Promise<T>,
): Promise<T> {
  const { kind, metric, errorsFrom } = SIDES[side];
  const known = isMethod(method);
  const attributes: Attributes = {
    // As the conventions say: any other one is text of any kind.
    "http.request.method": known ? method : "_OTHER",
    "network.protocol.version": "1.1",
    ...shared,
  };
  const start = performance.now();
  const span = attempt(() =>
    trace.getTracer(NAME).startSpan(
      known ? method : "HTTP",
      { kind, attributes: { ...attributes, ...ofSpan } },
      parent,
    ), trace.wrapSpanContext(INVALID_SPAN_CONTEXT));
  const within = trace.setSpan(parent, span);
  const ending: Attributes = {};
  try {
    const response = await context.with(within, () => process(within));
    const { status } = response;
    ending["http.response.status_code"] = status;
    if (status >= errorsFrom) {
      ending["error.type"] = String(status);
      attempt(() => span.setStatus({ code: SpanStatusCode.ERROR }), span);
    }
    return response;
  } catch (error) {
    ending["error.type"] = attempt(() => recordError(span, side, error), "_OTHER");
    throw error;
  } finally {
    const seconds = (performance.now() - start) / 1000;
    attempt(() => span.setAttributes(ending), span);
    attempt(() => span.end(), undefined);
    const advice = { explicitBucketBoundaries: BUCKETS };
    const description = `Duration of HTTP ${side} requests.`;
    attempt(() => {
      metrics.getMeter(NAME).createHistogram(metric, { unit: "s", description, advice })
        .record(seconds, { ...attributes, ...ending });
    }, undefined);
  }
}

/** Records what was thrown; returns its type. */
function recordError(span: Span, side: Measured["side"], error: unknown): string {
  span.setStatus({ code: SpanStatusCode.ERROR });
  if (!(error instanceof Error)) return "_OTHER";
  // The message of a wrong argument shows it: a URI with its query, say.
  const isArgument = error instanceof TypeError || error instanceof RangeError;
  if (side === "server" || !isArgument) span.recordException(error);
  return error.name;
}

/** The path of a URI, without its query; a client may be given anything. */
export function pathOf(uri: unknown): string {
  return String(uri).split(/[?#]/, 1)[0]!;
}
