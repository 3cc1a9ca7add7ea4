import "node:http";
import { sayReady } from "./ready.ts";

await sayReady();
