/**
 * Announces a device until it is killed, or searches for a device or for offers, and prints the
 * results as JSON. It has only the permissions for mDNS.
 */

import {
  Announcement,
  discoverServices,
  findAddresses,
  PAIR_SERVICE,
} from "@degu/internal/device/discovery/mdns.ts";

const [task = "", id = ""] = Deno.args;
if (task === "find") {
  console.log(JSON.stringify(await findAddresses(id)));
} else if (task === "offers") {
  console.log(JSON.stringify(await discoverServices(PAIR_SERVICE, {})));
} else {
  const type = task === "offer" ? { type: PAIR_SERVICE } : {};
  await using announced = new Announcement({
    name: "camera",
    id,
    port: 7443,
    logger: console,
    ...type,
  });
  console.log(await announced.announced);
  await new Promise(() => {});
}
