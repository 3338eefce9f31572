import type { TokenEndpointMetadata } from "../../issuer/metadata.ts";
import { CLIENT_CREDENTIALS, TOKEN_EXCHANGE } from "./grants.ts";
import type { TokenEndpointOptions } from "./options.ts";

/** What clients have to know of a token endpoint (RFC 8414 §2): what it takes follows from whom it knows. */
export function tokenEndpointMetadataOf({
  url,
  clients,
  publicClients,
  tokens,
}: TokenEndpointOptions): TokenEndpointMetadata {
  return {
    url,
    authenticationMethods: [
      ...(clients.length > 0 ? ["client_secret_basic", "client_secret_post"] : []),
      ...(publicClients.length > 0 ? ["none"] : []),
    ],
    grantTypes: [
      ...(clients.length > 0 ? [CLIENT_CREDENTIALS] : []),
      ...(tokens.length > 0 ? [TOKEN_EXCHANGE] : []),
    ],
  };
}
