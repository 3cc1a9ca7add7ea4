/**
 * The messages between a temporary server and its worker.
 *
 * @module
 */

import type { MessagePort } from "node:worker_threads";
import type { Address } from "../base/address_rules.ts";
import type { ServerSslconfig } from "../server.ts";
import type { PlainError } from "../worker/plain_error.ts";

/** A function for the worker: by its source, or as an export of a module. */
export type FunctionReference =
  | { readonly kind: "source"; readonly source: string }
  | { readonly kind: "module"; readonly module: string; readonly name: string };

/** What the worker must start. */
export interface StartCommand {
  /** `null` for a plain server. */
  readonly sslconfig: ServerSslconfig | null;
  readonly address: Address;
  readonly options: Record<string, unknown>;
  /** The function that builds the app from the arguments; `null` if `app` is given. */
  readonly build: FunctionReference | null;
  readonly app: FunctionReference | null;
  readonly args: readonly unknown[];
}

/** The first and only message to the worker itself. */
export interface Beginning {
  readonly command: StartCommand;
  /**
   * Carries the reports; any message to the worker asks it to close. It closes by itself when the
   * worker ends for any reason, for which a `Worker` has no event.
   */
  readonly port: MessagePort;
}

/** What the worker reports. */
export type Report =
  | { readonly type: "ready"; readonly address: Address }
  | { readonly type: "failed"; readonly error: PlainError }
  | { readonly type: "closed" };
