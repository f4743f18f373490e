"""What goes wrong in TLS, in words that say what to do."""

import ssl
from typing import Final

from stronghold_p2p.errors import CertificateError

_UNTRUSTED: Final = "this system does not trust its authority: give that one as WebTLS(ca=...)"

# Why a certificate was refused, by the numbers of OpenSSL (x509_vfy.h), and what to do.
_REFUSED: Final[dict[int, tuple[str, str]]] = {
    9: ("not yet valid", "it is not valid yet: look at the clocks of this machine and of that server"),
    10: ("expired", "it has expired: who runs that server has to renew it"),
    18: ("self-signed", "it is self-signed: give it as WebTLS(ca=...) if you trust it"),
    19: ("unknown authority", _UNTRUSTED),
    20: ("unknown authority", f"{_UNTRUSTED}, or its server does not send the chain, which is called fullchain.pem"),
    62: ("another name", "it is for other names: dial one of them, by /dns4/NAME/ or /tls/sni/NAME/ws"),
    64: ("another name", "it is for names and not for this IP address: dial one, by /dns4/NAME/ or /tls/sni/NAME/ws"),
}


def refused(error: ssl.SSLCertVerificationError, name: str) -> CertificateError:
    """The certificate that a server shows does not prove that it is ``name``."""
    reason, advice = _REFUSED.get(error.verify_code, (error.verify_message, f"{error.verify_message}"))
    return CertificateError(f"the certificate of {name} is refused: {advice}", name=name, reason=reason)


def failed(error: Exception) -> str:
    """Why there was no handshake."""
    told = words(error)
    if "certificate" in told or "unknown ca" in told:
        return f"the other side does not take our certificate ({told}): is it valid, and for the name that was dialed?"
    return f"no TLS handshake: {told}"


def words(error: Exception) -> str:
    """OpenSSL's reason in lower case, without the name of the protocol version in which the alert was invented."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    text = str(reason or error).lower().replace("_", " ")
    return text.removeprefix("tlsv1 ").removeprefix("tlsv13 ").removeprefix("sslv3 ")
