import "../../mod.ts";
import { sayReady } from "./ready.ts";

await sayReady();
