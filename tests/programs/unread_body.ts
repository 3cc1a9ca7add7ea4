/** Reads one small response body, and leaves another one unread. */
import { Client } from "@degu/degu";

const client = new Client(JSON.parse(Deno.args[0]!));
console.log(await (await client.get("/read")).text());
console.log((await client.get("/unread")).status);
