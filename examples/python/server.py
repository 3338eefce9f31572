"""A backend on http.server that trusts only the tokens of the sidecar in front of it. It verifies them with PyJWT.

    pip install 'pyjwt[crypto]'        (Debian: apt-get install python3-jwt python3-cryptography)
    PORT=9000 ISSUER=http://127.0.0.1:8080/__issuer AUDIENCE=https://orders.internal python3 server.py

AUDIENCE is what token.audience says in sidecar.yaml: a token for another backend is not for this one.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

ISSUER = os.environ["ISSUER"]
AUDIENCE = os.environ["AUDIENCE"]
ALGORITHMS = ["EdDSA", "ES256", "RS256"]  # whatever the token's own header says

# Fetched with the first token, kept, and fetched again when a token is signed with a new key.
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json")


def verify(authorization: str) -> dict:
    """Returns the token's claims, or raises."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise jwt.InvalidTokenError("no bearer token")
    key = keys.get_signing_key_from_jwt(token).key
    required = {"require": ["sub", "exp"]}  # PyJWT accepts a token that never expires otherwise
    return jwt.decode(
        token, key, ALGORITHMS, required, issuer=ISSUER, audience=AUDIENCE, leeway=30
    )


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            claims = verify(self.headers.get("Authorization", ""))
        except Exception as error:  # whatever is wrong with the token, the answer is the same
            self.log_message("refused: %s", error)
            return self.answer(401, {"error": "this service is reached through its sidecar"})
        self.answer(200, {"hello": claims["sub"], "claims": claims})

    def answer(self, status: int, content: dict):
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


# On the loopback address, so that nobody gets past the sidecar to begin with.
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
