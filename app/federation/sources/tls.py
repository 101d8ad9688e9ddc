"""TLS towards upstreams: authorities to trust, certificate to show, and errors that name the option to set."""

import ssl

from app.federation.sources.collected import SourceError
from app.federation.upstream import HttpUpstream


def tls_context(upstream: HttpUpstream) -> ssl.SSLContext:
    """Trust `ca_file` alone, or the system's authorities; show `client_certificate`.

    Raises `SourceError` tls when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=upstream.ca_file)
    except OSError as error:
        raise _unusable("ca_file", upstream.ca_file, error) from None
    if upstream.client_certificate is not None:
        try:
            # A key with a password would otherwise be asked for on the terminal.
            context.load_cert_chain(upstream.client_certificate, password="")
        except OSError as error:
            raise _unusable("client_certificate", upstream.client_certificate, error) from None
    return context


def tls_failure(error: ssl.SSLError) -> SourceError:
    """Return the failure of a handshake, with the option that may repair it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceError(
            "tls",
            f"The certificate of the upstream, or of a proxy that opens TLS, is not trusted: "
            f"{error.verify_message}. If it is right, name the authority that signed it in ca_file.",
        )
    return SourceError(
        "tls",
        f"No TLS connection: {error.reason or 'it was closed'}. Check url, ca_file and client_certificate.",
    )


def _unusable(option: str, path: str | None, error: OSError) -> SourceError:
    is_content = isinstance(error, ssl.SSLError)
    reason = "holds no PEM that can be used" if is_content else f"cannot be read: {error.strerror}"
    return SourceError("tls", f"{option}: {path} {reason}.")
