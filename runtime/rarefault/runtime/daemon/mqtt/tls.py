"""TLS: the settings of ``[broker]`` as an SSL context, and what goes wrong with it in plain words."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.errors import ConfigError

#: OpenSSL's verify codes (``X509_V_ERR_...``) to what they mean here.
_UNTRUSTED = {18, 19, 20, 21}  # self-signed, self-signed in chain, unknown issuer, issuer not given
_EXPIRED, _NOT_YET, _HOST_NAME, _ADDRESS = 10, 9, 62, 64


def tls_context(broker: BrokerConfig, source: Path) -> ssl.SSLContext | None:
    """What a connection to the broker is secured with; None without TLS.

    Args:
        broker: the settings.
        source: the configuration file, which the paths are relative to.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    if not broker.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = broker.check_host_name
    if broker.ca_file:
        # Whom the system trusts otherwise is of no matter to a plant's own authority.
        with _names("ca_file", source, broker.ca_file, "certificates in PEM") as path:
            context.load_verify_locations(path)
    else:
        context.load_default_certs()
    if broker.certificate_file:
        with _names("certificate_file", source, broker.certificate_file, "a certificate in PEM") as certificate:
            certificate.read_bytes()
        wanted = "the key of certificate_file, in PEM and not encrypted"
        with _names("key_file", source, broker.key_file, wanted) as path:
            # No password is read from a terminal: nobody sits at a gateway.
            context.load_cert_chain(certificate, path, lambda: "")
    return context


class _Socket(ssl.SSLSocket):
    """Closes itself where the handshake fails, which nobody else does."""

    def do_handshake(self, block: bool = False) -> None:
        """As in the base."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


@contextmanager
def _names(key: str, source: Path, name: str, wanted: str) -> Iterator[Path]:
    """Turn what goes wrong with a file into an error that names its key."""
    path = source.parent / name
    try:
        yield path
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise ConfigError(str(source), [f"broker.{key}: {path} does not hold {wanted} ({reason})"]) from None
    except OSError as error:
        raise ConfigError(str(source), [f"broker.{key}: {path} cannot be read: {error.strerror}"]) from None


def tls_problem(error: OSError, broker: BrokerConfig) -> str:
    """What a failed handshake means, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_problem(error, broker)
    reason = str((error.reason if isinstance(error, ssl.SSLError) else error.strerror) or error)
    no_tls = any(word in reason.upper() for word in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF", "RECORD_LAYER"))
    if no_tls or isinstance(error, (ConnectionResetError, ssl.SSLEOFError)):
        _, port = broker.address
        return f"port {port} does not speak TLS; use mqtt:// there, or the broker's TLS port (usually 8883)"
    if any(word in reason for word in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE")):
        return (
            f"the broker does not accept this client's certificate ({reason}); name the one that it wants in "
            "broker.certificate_file and broker.key_file"
        )
    return f"the TLS handshake failed ({reason})"


def _certificate_problem(error: ssl.SSLCertVerificationError, broker: BrokerConfig) -> str:
    host, _ = broker.address
    code = error.verify_code
    if code in {_HOST_NAME, _ADDRESS}:
        return (
            f"its certificate is not made out to {host!r}; put the name that it is made out to into broker.url, or "
            "have a certificate made for this one"
        )
    if code in _UNTRUSTED:
        by = f"{broker.ca_file}, which broker.ca_file names," if broker.ca_file else "the system's store"
        return (
            f"its certificate was not issued by an authority in {by} ({error.verify_message}); name the file of the "
            "right one in broker.ca_file"
        )
    if code == _EXPIRED:
        return "its certificate has expired; have it renewed, and check this machine's clock"
    if code == _NOT_YET:
        return "its certificate is not valid yet; check this machine's clock"
    return f"its certificate cannot be verified: {error.verify_message}"
