"""Who may use a core, told by API keys that it never keeps, shows or logs.

    # who      their key, or its sha256
    alice      4f9d…
    alice      sha256:9b71…        # a tenant may have several keys
    bob        77c2…

Keys are read once, hashed, and compared as hashes in constant time. Without any, everybody is one
tenant: that is for one's own machine.
"""

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.errors import Unauthorized
from parrotc.runtime.engines.configfile import CODE, ConfigError

EVERYBODY = "default"
_LINE = re.compile(r"(?P<name>[\w.-]+)\s+(?P<key>\S+)")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whom work is done for. `name` is that of the keys file."""

    name: str


class Tenants:
    """`keys` maps the sha256 of each key to whose it is; None: no key is asked for."""

    def __init__(self, keys: Mapping[bytes, str] | None) -> None:
        self._keys = None if keys is None else dict(keys)

    @property
    def are_known(self) -> bool:
        return self._keys is not None

    def find(self, key: str | None) -> Tenant:
        """Whose `key` is. Raises `Unauthorized`, in the same words for any reason."""
        if self._keys is None:
            return Tenant(EVERYBODY)
        given = digest(key or "")
        found: str | None = None
        for known, name in self._keys.items():  # all of them: the time tells nothing
            if hmac.compare_digest(known, given):
                found = name
        if found is None or not key:
            raise Unauthorized(
                "a known API key is needed", "send it as `Authorization: Bearer KEY`"
            )
        return Tenant(found)


def digest(secret: str) -> bytes:
    """What is kept of a secret. One that is random needs no salt and no slow hash."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def read_tenants(config: CoreConfig, environ: Mapping[str, str] = os.environ) -> Tenants:
    """The tenants that a config names. Raises `ConfigError`, which holds no key."""
    keys: dict[bytes, str] = {}
    if config.keys_file:
        path = Path(config.keys_file)
        try:
            keys |= read_keys(str(path), path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(
                Diagnostic(CODE, f"the keys file {path} cannot be read: {why}")
            ) from None
    if config.keys_env:
        if config.keys_env not in environ:
            message = f"the environment variable {config.keys_env}, which holds keys, is not set"
            raise ConfigError(Diagnostic(CODE, message))
        keys |= read_keys(f"${config.keys_env}", environ[config.keys_env])
    return Tenants(keys if config.keys_file or config.keys_env else None)


def read_keys(name: str, text: str) -> dict[bytes, str]:
    """Hashes of keys, with whose they are. Raises `ConfigError`: it names lines, and shows none."""
    keys: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        found = _LINE.fullmatch(said)
        if found is None:
            raise ConfigError(
                Diagnostic(
                    CODE,
                    f"line {number} of {name} is not a tenant's name and a key",
                    help="write a name, a space, and the key or `sha256:` and its hash",
                )
            )
        hashed = _HASHED.fullmatch(found["key"])
        key = bytes.fromhex(hashed[1]) if hashed else digest(found["key"])
        if keys.setdefault(key, found["name"]) != found["name"]:
            message = f"line {number} of {name} gives a key to a second tenant"
            raise ConfigError(Diagnostic(CODE, message))
    return keys
