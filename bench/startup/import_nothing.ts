import { sayReady } from "./ready.ts";

sayReady();
