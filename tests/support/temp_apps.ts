/** Apps; tests also run them in workers, by this module's name. */

import type { AppFunction } from "@degu/degu/server";

/** Sends back its body: chunks as chunks. */
export const echo: AppFunction = async ({ body }, _session, api) => {
  if (body === null) return [200, "OK", {}, null];
  if (!body.chunked) return [200, "OK", {}, await body.bytes()];
  return [200, "OK", {}, new api.ChunkedBodyIter(await Array.fromAsync(body))];
};

/** Builds an app with one answer. */
export function build(status: number): AppFunction {
  return () => [status, "As told", {}, null];
}
