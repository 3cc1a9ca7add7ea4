// Not a program: examples/tutorial.ts imports this module.

import {
  type Address,
  type AppObject,
  buildUri,
  Client,
  type Request,
  type ResponseTuple,
} from "@degu/degu";
import { makeOutputFromInput } from "@degu/degu/base";

/** Forwards each request to another server and returns its response. */
class ProxyApp implements AppObject {
  readonly #client: Client;

  constructor(address: Address) {
    this.#client = new Client(address);
  }

  async handle(request: Request): Promise<ResponseTuple> {
    const response = await this.#client.request(
      request.method,
      buildUri(request.path, request.query),
      { ...request.headers, expect: undefined }, // the server itself answers this header
      makeOutputFromInput(request.body),
    );
    return [
      response.status,
      response.reason,
      response.headers,
      makeOutputFromInput(response.body),
    ];
  }
}

/** Makes a reverse proxy to the server at the address. */
export function buildProxyApp(address: Address): ProxyApp {
  return new ProxyApp(address);
}
