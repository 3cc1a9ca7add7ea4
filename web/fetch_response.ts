/**
 * Responses as `fetch` returns them.
 *
 * @module
 */

/** A response with the URL that it came from. */
export class FetchResponse extends Response {
  readonly #url: string;
  readonly #redirected: boolean;

  /** Makes a response to the request for `url`. */
  constructor(
    body: ReadableStream<Uint8Array<ArrayBuffer>> | null,
    init: ResponseInit,
    url: string,
    redirected: boolean,
  ) {
    super(body, init);
    this.#url = url;
    this.#redirected = redirected;
  }

  /** The URL that was requested last, without its fragment. */
  override get url(): string {
    return this.#url;
  }

  /** True if that was not the first one. */
  override get redirected(): boolean {
    return this.#redirected;
  }

  /** The type of a response that is not filtered. */
  override get type(): ResponseType {
    return "basic";
  }

  /** A copy of the response, whose body is read independently. */
  override clone(): FetchResponse {
    const { body, status, statusText, headers } = super.clone();
    return new FetchResponse(body, { status, statusText, headers }, this.#url, this.#redirected);
  }
}
