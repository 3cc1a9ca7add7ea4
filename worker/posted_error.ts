/** Errors that a worker posts. */

/** An error as it is posted. Cloning keeps its message, its stack and its causes, but no class or name of Deno's. */
export interface PostedError {
  readonly error: Error;
  readonly name: string;
  /** Those of an `AggregateError`. */
  readonly errors?: unknown[];
}

/** Prepares what was thrown for posting; never throws. */
export function toPostedError(thrown: unknown): PostedError {
  try {
    if (!(thrown instanceof Error)) {
      return {
        error: new Error(typeof thrown === "string" ? thrown : Deno.inspect(thrown)),
        name: "Error",
      };
    }
    // JavaScript lets all of them be of any type.
    const name = String(thrown.name);
    try {
      const error = structuredClone(thrown);
      if (!(thrown instanceof AggregateError)) return { error, name };
      return { error, name, errors: structuredClone(thrown.errors) };
    } catch {
      const error = new Error(String(thrown.message), { cause: Deno.inspect(thrown.cause) });
      error.stack = String(thrown.stack);
      return { error, name };
    }
  } catch {
    // A getter throws, say.
    return { error: new Error("what was thrown can't be read"), name: "Error" };
  }
}

/** Gives an error that was posted its name back, and its class if that is one of Deno's. */
export function fromPostedError({ error, name, errors }: PostedError): Error {
  const define = (property: string, value: unknown) =>
    Object.defineProperty(error, property, { value, writable: true, configurable: true });
  if (errors !== undefined) {
    Object.setPrototypeOf(error, AggregateError.prototype);
    define("errors", errors);
  }
  if (Object.hasOwn(Deno.errors, name)) {
    const Class = Deno.errors[name as keyof typeof Deno.errors];
    Object.setPrototypeOf(error, Class.prototype);
  }
  if (error.name !== name) define("name", name);
  return error;
}
