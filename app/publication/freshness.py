"""The freshness token: proof, also beside a 304, that what a cache hands out is what we serve now.

A JWS with serial, set digest, issue and expiry time, in the header `Threatcloud-Freshness` of every 200 and
304 of the distribution routes. A client that sees it expire knows that something in between froze it.
"""

from app.publication.served_set import ServedSet
from app.signing.jws import sign
from app.signing.keys import SigningKeys

HEADER = "Threatcloud-Freshness"
LIFETIME_SECONDS = 600
RENEW_AFTER_SECONDS = 60


class Freshness:
    """Signs at most once a minute and publication: a signature per poll would cost more than the poll."""

    def __init__(self, signing_keys: SigningKeys, issuer: str) -> None:
        self._keys = signing_keys
        self._issuer = issuer
        self._token = ""
        self._serial = 0
        self._renew_at = 0.0

    def token(self, served: ServedSet, now: float) -> str:
        """Return the token for what is served at `now` (seconds since 1970)."""
        if served.serial != self._serial or now >= self._renew_at:
            signer = self._keys.signer("manifest")
            claims = {
                "iss": self._issuer,
                "serial": served.serial,
                "digest": served.digest,
                "iat": int(now),
                "exp": int(now) + LIFETIME_SECONDS,
            }
            self._token = sign("freshness+jwt", claims, signer)
            self._serial = served.serial
            self._renew_at = now + RENEW_AFTER_SECONDS
        return self._token
