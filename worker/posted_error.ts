/** Errors that a worker posts. */

/** An error as it is posted. Cloning keeps its message, its stack and its causes, but no class or name of Deno's. */
export interface PostedError {
  readonly error: Error;
  readonly name: string;
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
      return { error: structuredClone(thrown), name };
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
export function fromPostedError({ error, name }: PostedError): Error {
  if (Object.hasOwn(Deno.errors, name)) {
    const Class = Deno.errors[name as keyof typeof Deno.errors];
    Object.setPrototypeOf(error, Class.prototype);
  }
  if (error.name !== name) {
    Object.defineProperty(error, "name", { value: name, writable: true, configurable: true });
  }
  return error;
}
