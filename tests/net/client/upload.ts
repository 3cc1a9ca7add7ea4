import { withTimeout } from "@degu/testing/raw_peer.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** A stream whose items the test supplies, and the reasons with which it was canceled. */
export class Upload {
  readonly cancelReasons: unknown[] = [];
  readonly stream: ReadableStream<Uint8Array>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly #canceled: Promise<void>;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#canceled = promise;
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: (reason) => {
        this.cancelReasons.push(reason);
        resolve();
      },
    });
  }

  waitForCancel(): Promise<void> {
    return withTimeout(this.#canceled, "the source is canceled");
  }

  send(text: string): void {
    this.#controller.enqueue(encodeLatin1(text));
  }

  end(): void {
    this.#controller.close();
  }

  fail(error: unknown): void {
    this.#controller.error(error);
  }
}
