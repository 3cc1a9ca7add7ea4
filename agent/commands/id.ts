import type { Context } from "../machine/context.ts";
import { openDevice } from "../machine/open_device.ts";

export async function printId(context: Context): Promise<void> {
  await using device = await openDevice(context);
  const { name, id } = device;
  context.output.printResult(`${name} ${id}`, { name, id });
}
