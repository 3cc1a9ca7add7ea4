import { sayReady } from "./ready.ts";

await sayReady();
