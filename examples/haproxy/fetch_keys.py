"""Fetches the sidecar's public keys and writes them as PEM files, which is what HAProxy reads.

    apt-get install python3-jwt python3-cryptography
    python3 fetch_keys.py keys && systemctl reload haproxy

It succeeds where the files have changed, and exits with 3 where they are as they were. Run it from a timer, more often
than issuer.keys.overlap (a day, unless configured): a key is published for that long before it signs.
"""

import os
import sys
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "http://127.0.0.1:8080/__issuer"
ALGORITHM = "ES256"
SLOTS = 3  # how many files haproxy.cfg names: the key that signs comes first, then its successor and predecessors

folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
published = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json").get_jwk_set().keys
keys = [entry.key for entry in published if entry._jwk_data.get("alg") == ALGORITHM]
if not keys:
    sys.exit(f"{ISSUER} publishes no key for {ALGORITHM}")
if len(keys) > SLOTS:
    print(f"{len(keys)} keys are published, and there is room for {SLOTS}", file=sys.stderr)

changed = False
for slot in range(SLOTS):
    key = keys[slot] if slot < len(keys) else keys[0]  # each file has to be there
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file = folder / f"{slot + 1}.pem"
    if file.exists() and file.read_bytes() == pem:
        continue
    new = folder / f".{file.name}.new"
    new.write_bytes(pem)
    os.replace(new, file)  # HAProxy never reads half a file
    changed = True
sys.exit(0 if changed else 3)
