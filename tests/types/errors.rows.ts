/** Programs that retry requests, and use fields of errors. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a StatusError that an app throws | Expected 1 arguments
- new Server(address, () => {
-   throw new StatusError("no such lamp", { status: 404 });
- });
+ new Server(address, () => reply(404, "no such lamp"));

a StatusError of fields | Expected 1 arguments
- const made = new StatusError(null, { status: 404, message: "no such lamp" });
+ const made = new StatusError({ status: 404, message: "no such lamp" });

assigning to headers of an error | only permits reading
- (error as StatusError).headers["x-seen"] = "a";
+ ({ ...(error as StatusError).headers, "x-seen": "a" }) satisfies HeadersToSend;

a decision on retries that returns a promise | 'Promise<boolean>' is not assignable to type 'boolean'
- retry(() => client.request("GET", "/"), { when: async (error) => isTransient(error) });
+ retry(() => client.request("GET", "/"), { when: (error) => isTransient(error) });

an error that may have no description | possibly 'null'
- describeConnectionError(error).fault;
+ describeConnectionError(error)?.fault;

a fault that doesn't exist | no overlap
- describeConnectionError(error)?.fault === "timeout";
+ describeConnectionError(error)?.fault === "timed out";

a code of another class | no overlap
- (error as TlsError).code === "BODY_INCOMPLETE";
+ (error as ProtocolError).code === "BODY_INCOMPLETE";

a retry without expectOk whose last response is a refusal | SyntaxError: busy
- await using busy = await Server.start(["127.0.0.1", 0], () => reply(503, "busy"));
- const again = await retry(() => new Client(busy.address).request("GET", "/"), { seconds: 0 });
- await again.json();
+ const again = await retry(() => expectOk(client.request("GET", "/")));
+ await again.json();
`);

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
  "a retry without expectOk": `
const { status } = await retry(() => client.request("GET", "/"));
const { ok } = await retry(() => client.get("/"), { when: isTransient, retries: 5 });
await retry(async (moved) => {
  const response = await client.request("POST", "/", {}, "a");
  moved();
  return response.status;
}, {
  when: (error) => isTransient(error) || error instanceof StatusError && error.status === 404,
  onRetry: ({ error, number }) => console.log(number, describeConnectionError(error)?.fault),
});
`,
  "time limits": `
await retry(() => client.get("/"), { when: (error) => isTransient(error) && !isTimeout(error) });
const late: boolean = await client.get("/", {}, { signal: AbortSignal.timeout(50) }).then(
  () => false,
  isTimeout,
);
`,
  "reading the fields of errors": `
if (error instanceof DeguError) console.log(error.code ?? "", error.problem);
if (error instanceof StatusError) {
  const { status, reason, method, uri, headers, text, retryAfter } = error;
  console.log(status + (retryAfter ?? 0), reason, method === "GET", uri, headers.etag, text);
}
if (error instanceof TransferError) console.log(error.kept?.path, error.kept?.bytes, error.limit);
if (error instanceof PairingError) console.log(error.reason === "local", error.peerName);
if (error instanceof TlsError && error.address !== null) new Client(error.address);
const { fault, address: at, missingBytes } = describeConnectionError(error) ?? {};
if (fault === "refused" && at != null) new Client(at);
console.log(missingBytes, describeArgumentError(error)?.argument);
class Busy extends DeguError {
  override readonly code = "BUSY";
  readonly status = 503;
}
console.log(new Busy("the lamp is busy; try again", { problem: "the lamp is busy", cause: error }).problem);
`,
};
