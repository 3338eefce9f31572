import type { Authenticator, Surroundings } from "./authenticator.ts";
import type { BasicOptions } from "./options.ts";

export async function openBasic(
  _name: string,
  _options: BasicOptions,
  _surroundings: Surroundings,
): Promise<Authenticator> {
  throw new Error("to be built");
}
