/**
 * An OpenTelemetry collector on loopback, and a program that reports to it with Deno's own exporter.
 *
 * @module
 */

import { assert } from "@std/assert";

/** A span, as far as tests look at it. */
export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: Record<string, unknown>;
  readonly status: { readonly code: number };
  readonly events: readonly { readonly name: string }[];
}

interface RawSpan extends Omit<CollectedSpan, "attributes"> {
  readonly attributes: { readonly key: string; readonly value: Record<string, unknown> }[];
}

interface Sent {
  readonly resourceSpans?: { scopeSpans: { scope: { name: string }; spans: RawSpan[] }[] }[];
}

/** Runs a program of `tests/support/programs/`; returns its spans by this library, and all it has sent. */
export async function collect(program: string): Promise<{ spans: CollectedSpan[]; sent: string }> {
  const sent: string[] = [];
  await using collector = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      sent.push(await request.text());
      return Response.json({});
    },
  );
  const path = new URL(`programs/${program}`, import.meta.url).pathname;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", "--allow-net=127.0.0.1", path],
    env: {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
    },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const spans = sent.flatMap((text) => (JSON.parse(text) as Sent).resourceSpans ?? [])
    .flatMap(({ scopeSpans }) => scopeSpans)
    .filter(({ scope }) => scope.name === "@degu/degu")
    .flatMap((scope) => scope.spans);
  return { spans: spans.map(withAttributes), sent: sent.join("\n") };
}

function withAttributes(span: RawSpan): CollectedSpan {
  const entries = span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]);
  return { ...span, attributes: Object.fromEntries(entries) };
}
