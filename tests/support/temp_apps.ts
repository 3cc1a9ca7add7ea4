/** Apps that tests run in workers, by this module's name. */

import { type Address, buildUri, makeOutputFromInput } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { App, AppFunction } from "@degu/degu/server";

/** Sends back what it gets: chunks as chunks. */
export const echo: AppFunction = async ({ body }, _session, api) => {
  if (body === null) return [200, "OK", {}, null];
  if (!body.chunked) return [200, "OK", {}, await body.bytes()];
  return [200, "OK", {}, new api.ChunkedBodyIter(await Array.fromAsync(body))];
};

/** Builds an app with one answer. */
export function build(status: number): AppFunction {
  return () => [status, "As told", {}, null];
}

/** Builds a reverse proxy. */
export function buildProxyApp(address: Address): App {
  const client = new Client(address);
  return {
    handle: async ({ method, path, query, headers, body }) => {
      const uri = buildUri(path, query);
      const response = await client.request(method, uri, headers, makeOutputFromInput(body));
      const { status, reason } = response;
      return [status, reason, response.headers, makeOutputFromInput(response.body)];
    },
  };
}
