import { errorCodeOf, isTooManyOpenFilesError } from "../internal/caught_errors.ts";

/** Calls a function in a worker with the port to the thread that has started the worker. */
export function runInWorker(run: (port: MessagePort) => void): void {
  if (!("DedicatedWorkerGlobalScope" in globalThis)) return;
  const onPort = (event: Event) => {
    event.stopImmediatePropagation(); // the message is not for the app
    run((event as MessageEvent<MessagePort>).data);
  };
  globalThis.addEventListener("message", onPort, { once: true });
}

/**
 * Reports the errors that no code of the app catches.
 *
 * @returns A function that moves the listeners behind those of the app, which may handle the
 * errors.
 */
export function reportUncaughtErrors(report: (error: unknown) => void): () => void {
  const onEvent = (event: Event) => {
    if (event.defaultPrevented) return;
    event.preventDefault(); // otherwise Deno prints the error
    report(event instanceof ErrorEvent ? event.error : (event as PromiseRejectionEvent).reason);
  };
  const listen = () => {
    for (const type of ["error", "unhandledrejection"]) {
      globalThis.removeEventListener(type, onEvent);
      globalThis.addEventListener(type, onEvent);
    }
  };
  listen();
  return listen;
}

/**
 * An error for `postMessage`, which clones it. A clone has the message, the stack and the causes,
 * but not a class of Deno.
 */
export interface PostedError {
  readonly error: Error;
  readonly name: string;
  readonly errors?: unknown[];
  readonly code?: string | undefined;
}

/** Never throws. */
export function toPostedError(thrownValue: unknown): PostedError {
  try {
    const code = isTooManyOpenFilesError(thrownValue) ? "EMFILE" : errorCodeOf(thrownValue);
    return { ...cloneError(thrownValue), code: typeof code === "string" ? code : undefined };
  } catch {
    // A getter has thrown.
    return { error: new Error("the thrown value can't be read"), name: "Error" };
  }
}

function cloneError(thrownValue: unknown): PostedError {
  if (!(thrownValue instanceof Error)) {
    return {
      error: new Error(typeof thrownValue === "string" ? thrownValue : Deno.inspect(thrownValue)),
      name: "Error",
    };
  }
  // Replace the stack: to format a stack, Deno opens a source map, and ends the process if no
  // file descriptor is free.
  if (isTooManyOpenFilesError(thrownValue)) {
    thrownValue.stack = `${thrownValue.name}: ${thrownValue.message}`;
  }
  // In JavaScript, these properties can have any type.
  const name = String(thrownValue.name);
  try {
    const error = structuredClone(thrownValue);
    if (!(thrownValue instanceof AggregateError)) return { error, name };
    return { error, name, errors: structuredClone(thrownValue.errors) };
  } catch {
    const error = new Error(String(thrownValue.message), {
      cause: Deno.inspect(thrownValue.cause),
    });
    error.stack = String(thrownValue.stack);
    return { error, name };
  }
}

export function fromPostedError(
  { error, name, errors, code }: PostedError,
): Error {
  const defineProperty = (property: string, value: unknown) =>
    Object.defineProperty(error, property, { value, writable: true, configurable: true });
  if (errors !== undefined) {
    Object.setPrototypeOf(error, AggregateError.prototype);
    defineProperty("errors", errors);
  }
  if (Object.hasOwn(Deno.errors, name)) {
    const ErrorClass = Deno.errors[name as keyof typeof Deno.errors];
    Object.setPrototypeOf(error, ErrorClass.prototype);
  }
  if (error.name !== name) defineProperty("name", name);
  // A DOMException has a code of its own.
  if (code !== undefined && !("code" in error)) Object.assign(error, { code });
  return error;
}
