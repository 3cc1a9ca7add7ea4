/**
 * One span and one duration for one request.
 *
 * @module
 */

import {
  type Attributes,
  type Context,
  context,
  metrics,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "npm:@opentelemetry/api@^1.9.0";

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
  /** The method, which is the name of the span as well. */
  readonly method: string;
  /** Attributes of the span and of the metric. */
  readonly shared: Attributes;
  /** Attributes of the span alone: they have too many values for a metric. */
  readonly ofSpan: Attributes;
  /** The context whose span is the parent. */
  readonly parent: Context;
}

/** Processes a request within a span, and records how long that took and how it ended. */
export async function measure<T extends { readonly status: number }>(
  { side, method, shared, ofSpan, parent }: Measured,
  process: (context: Context) => T | Promise<T>,
): Promise<T> {
  const { kind, metric, errorsFrom } = SIDES[side];
  const attributes: Attributes = {
    "http.request.method": method,
    "network.protocol.version": "1.1",
    ...shared,
  };
  const start = performance.now();
  const span = trace.getTracer(NAME).startSpan(
    method,
    { kind, attributes: { ...attributes, ...ofSpan } },
    parent,
  );
  const within = trace.setSpan(parent, span);
  const ending: Attributes = {};
  try {
    const response = await context.with(within, () => process(within));
    const { status } = response;
    ending["http.response.status_code"] = status;
    if (status >= errorsFrom) {
      ending["error.type"] = String(status);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    return response;
  } catch (error) {
    ending["error.type"] = recordError(span, error);
    throw error;
  } finally {
    span.setAttributes(ending);
    span.end();
    const seconds = (performance.now() - start) / 1000;
    const advice = { explicitBucketBoundaries: BUCKETS };
    const description = `Duration of HTTP ${side} requests.`;
    metrics.getMeter(NAME).createHistogram(metric, { unit: "s", description, advice })
      .record(seconds, { ...attributes, ...ending });
  }
}

/** Records what was thrown; returns its type. */
function recordError(span: Span, error: unknown): string {
  span.setStatus({ code: SpanStatusCode.ERROR });
  if (!(error instanceof Error)) return "_OTHER";
  span.recordException(error);
  return error.name;
}
