import { isAbsolute } from "node:path";
import { Device, isDeviceName } from "@degu/degu/device";
import type { Logger } from "@degu/degu/server";
import { checkTypedPath, findHomeDirectory, join, mayReadVariable, resolve } from "./paths.ts";
import type { CommonOptions, Context } from "./context.ts";
import { makeRewordingLogger } from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { formatCount, formatDevice, PAIR_ADVICE } from "../terminal/output.ts";

/** Reads the environment only without `--home`. */
export async function findHome(homeOption: string | undefined): Promise<string> {
  // An empty value usually comes from an unset variable in a script.
  if (homeOption === "") throw new Failure("--home: must be a directory; it is empty", "USAGE");
  const isWindows = Deno.build.os === "windows";
  if (homeOption !== undefined) {
    if (!isWindows) {
      checkTypedPath(homeOption);
      return resolve(homeOption);
    }
    // Imported only on Windows, because it imports the modules for files.
    const { toLocalPath } = await import("./local_paths.ts");
    return resolve(toLocalPath(homeOption));
  }
  const stateDirectory = Deno.env.get(isWindows ? "LOCALAPPDATA" : "XDG_STATE_HOME");
  // The specification of these variables says to ignore relative paths.
  if (stateDirectory !== undefined && isAbsolute(stateDirectory)) {
    return join(stateDirectory, "degu");
  }
  if (isWindows) {
    throw new Failure("LOCALAPPDATA is not set: name the directory of the device with --home DIR");
  }
  const home = findHomeDirectory();
  if (home !== null) return `${home}/.local/state/degu`;
  const problem = Deno.env.get("HOME") ? "is no absolute path" : "is not set";
  throw new Failure(`HOME ${problem}: name the directory of the device with --home DIR`);
}

/**
 * Returns true if degu has written the command line, that of a service, with the default directory.
 * Such a line has no permission for the environment.
 */
export function isDefaultOfService(home: string): boolean {
  return !mayReadVariable("XDG_STATE_HOME") && home.endsWith("/.local/state/degu");
}

export async function openDevice(context: Context): Promise<Device> {
  const device = await openIfCreated(context);
  if (device !== null) return device;
  const message = `there is no device in ${context.home}: ${PAIR_ADVICE}`;
  throw new Failure(message, "NOT_PAIRED");
}

/**
 * @param checkArguments Called before a missing device is created: a command that fails because of
 * its arguments must not create a device.
 */
export async function openOrCreateDevice(
  context: Context,
  checkArguments: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Device> {
  const existingDevice = await openIfCreated(context);
  if (existingDevice !== null) return existingDevice;
  const { home, output } = context;
  const name = findMachineName(home);
  await checkArguments();
  const device = await Device.open(home, { name, logger: makeLogger(context) });
  output.note(`created the device ${formatDevice(device)} in ${home}`);
  return device;
}

function findMachineName(home: string): string {
  try {
    return makeDefaultName();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    // The device is often missing because of a wrong --home.
    const message = `there is no device in ${home}, and its name needs --allow-sys=hostname`;
    throw new Failure(message, null, { cause: error });
  }
}

/** The names that the interrupted creation of a device leaves, or a new file system has. */
const DEVICE_NAME_PATTERN = /^(?:identity|lock|lost\+found|peers|serving|\.[0-9a-f]{16})$/;

/** Returns the reason why a device must not be created in a directory without a device. */
async function findCreateProblem(home: string, mayTakeOver: boolean): Promise<string | null> {
  // Keys between other files would be copied, shared or deleted with these.
  const hasOtherFiles = (await listNames(home)).some((name) => !DEVICE_NAME_PATTERN.test(name));
  if (hasOtherFiles) return `${home} has other files, and no device`;
  const hasKeys = (await listNames(join(home, "identity"))).length > 0;
  if (mayTakeOver || !hasKeys) return null;
  const peers = formatCount((await listNames(join(home, "peers"))).length, "peer");
  return `the keys and ${peers} of a device are in ${home}, its name is not: init --name NAME takes them over`;
}

async function listNames(dir: string): Promise<string[]> {
  // The directory may be missing, or not be readable.
  return await Array.fromAsync(Deno.readDir(dir), ({ name }) => name).catch(() => []);
}

/** @param mayTakeOver True if the caller names a device whose keys are there without its name. */
export async function openIfCreated(context: Context, mayTakeOver = false): Promise<Device | null> {
  const { home } = context;
  try {
    return await Device.open(home, { logger: makeLogger(context) });
  } catch (error) {
    const isFile = error instanceof Deno.errors.NotADirectory;
    if (!isFile && !(error instanceof RangeError)) throw error;
    const problem = isFile
      ? `--home: ${home} is a file, or leads through one`
      : await findCreateProblem(home, mayTakeOver);
    if (problem === null) return null;
    throw new Failure(problem, null, { cause: error, path: home });
  }
}

export function makeLogger({ output }: Context): Logger {
  return makeRewordingLogger((level, line) => {
    if (level === "warn" || level === "error") output.warn(line);
  });
}

export async function openTemporaryDevice(
  context: Context,
): Promise<AsyncDisposable & { readonly device: Device }> {
  const name = makeDefaultName();
  await using resources = new AsyncDisposableStack();
  const dir = await Deno.makeTempDir({ prefix: "degu-once-" });
  resources.defer(() => Deno.remove(dir, { recursive: true }));
  const device = resources.use(await Device.open(dir, { name, logger: makeLogger(context) }));
  return Object.assign(resources.move(), { device });
}

// ───────────────────────── names of devices

export const MAX_NAME_LENGTH = 63;

export function makeNameKey(name: string): string {
  return name.toLowerCase();
}

export function findNameOptionProblem(
  { name, as }: Pick<CommonOptions, "name" | "as">,
): string | null {
  for (const [option, value] of Object.entries({ name, as })) {
    if (value === undefined || isDeviceName(value)) continue;
    return `--${option}: must be 1 to ${MAX_NAME_LENGTH} letters, digits, "-" and "_", the first a letter or digit, and neither an id of ` +
      `a device nor a name that Windows reserves, such as con; got ${JSON.stringify(value)}`;
  }
  return null;
}

export function makeDefaultName(hostname: string = Deno.hostname()): string {
  const [label = ""] = hostname.split(".");
  const name = label.normalize("NFKD").replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^0-9A-Za-z_-]+/g, "-").replace(/^[^0-9A-Za-z]+/, "")
    .slice(0, MAX_NAME_LENGTH).replace(/-+$/, "");
  return isDeviceName(name) ? name : "device";
}
