/**
 * What a temporary server and its worker say to each other.
 *
 * @module
 */

import type { Address } from "../base/session.ts";
import type { ServerSslconfig } from "../server.ts";

/** A function that is to be had in the worker: by its source, or as an export of a module. */
export type FunctionReference =
  | { readonly kind: "source"; readonly source: string }
  | { readonly kind: "module"; readonly module: string; readonly name: string };

/** What the worker is told. */
export type Command =
  | {
    readonly type: "start";
    /** `null` for a plain server. */
    readonly sslconfig: ServerSslconfig | null;
    readonly address: Address;
    readonly options: Record<string, unknown>;
    /** The function that builds the app from the arguments, or, where it is `null`, the app. */
    readonly build: FunctionReference | null;
    readonly app: FunctionReference | null;
    readonly args: readonly unknown[];
  }
  | { readonly type: "close" };

/** An error as it crosses from the worker. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
}

/** What the worker says. */
export type Report =
  | { readonly type: "ready"; readonly address: Address }
  | { readonly type: "failed"; readonly error: PlainError }
  | { readonly type: "closed" };

/** Takes apart what was thrown. */
export function toPlainError(error: unknown): PlainError {
  if (error instanceof Error) {
    return { name: error.name, message: error.message, stack: error.stack };
  }
  return { name: "Error", message: String(error), stack: undefined };
}

/** Puts an error together again, as the class it had where everybody has that class. */
export function fromPlainError({ name, message, stack }: PlainError): Error {
  const Class = (Deno.errors as Record<string, unknown>)[name] ??
    (globalThis as Record<string, unknown>)[name];
  const known = typeof Class === "function" && Class.prototype instanceof Error;
  const error = known ? new (Class as ErrorConstructor)(message) : new Error(message);
  if (error.name !== name) error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}
