import type { Authenticator, Surroundings } from "./authenticator.ts";
import type { JwtOptions } from "./options.ts";

export async function openJwt(
  _name: string,
  _options: JwtOptions,
  _surroundings: Surroundings,
): Promise<Authenticator> {
  throw new Error("to be built");
}
