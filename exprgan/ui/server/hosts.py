"""Who sends a request, and to which name: proxies, allowed hosts and origins, read from the environment."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

HOSTS_VARIABLE, PROXIES_VARIABLE = "EXPRGAN_ALLOWED_HOSTS", "EXPRGAN_TRUSTED_PROXIES"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
FORWARDED_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
                     "x-gradio-server")  # fmt: skip
"""What a proxy says of the request that it passes on. Without a proxy anybody can write it."""
FOREIGN_HOST = ("This app is not known as {host}. Open it by one of its own names; whoever runs it can add a name: "
                f"{HOSTS_VARIABLE}={{host}}")  # fmt: skip
FOREIGN_ORIGIN = "Requests from pages of other sites are not accepted."


@dataclass(frozen=True)
class HostPolicy:
    """The names under which the app is known, and the proxies before it.

    Args:
        hosts: names without port; "*" allows every name. Addresses in digits are always allowed: no page of another site
            can be made to have one.
        proxies: number of proxies before the app, each of which appends an address to X-Forwarded-For; 0 for none.
        on_space: whether the app runs on a Space: huggingface.co frames it, and no visitor has an address of a private
            network, so that such addresses in X-Forwarded-For are further proxies.
    """

    hosts: frozenset[str] = frozenset(LOCAL_HOSTS)
    proxies: int = 0
    on_space: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "HostPolicy":
        """Reads EXPRGAN_ALLOWED_HOSTS (names with commas between), EXPRGAN_TRUSTED_PROXIES, and what a Space sets.

        A Space has SPACE_ID, is known by SPACE_HOST, and has one proxy unless another number is given.

        Raises:
            ValueError: EXPRGAN_TRUSTED_PROXIES is no whole number from 0.
        """
        on_space = bool(environment.get("SPACE_ID"))
        hosts = [*LOCAL_HOSTS, *environment.get(HOSTS_VARIABLE, "").split(","), environment.get("SPACE_HOST", ""),
                 environment.get("GRADIO_SERVER_NAME", "")]  # fmt: skip
        proxies = environment.get(PROXIES_VARIABLE) or str(int(on_space))
        if not proxies.isdecimal():
            raise ValueError(f"{PROXIES_VARIABLE} must be a whole number from 0, not {proxies!r}")
        names = (host.strip().strip("[]").lower() for host in hosts)
        return cls(frozenset(name for name in names if name), int(proxies), on_space)

    def allows(self, host: str) -> bool:
        """Whether a Host header, or the host and port of an origin, is one of the app's names or an address in digits."""
        match = re.fullmatch(r"(\[[\da-f:.]+\]|[\w.-]+)(:\d+)?", host.lower(), re.ASCII)
        if match is None:
            return False
        name = match[1].strip("[]")
        return "*" in self.hosts or name in self.hosts or _address(name) is not None

    def allows_origin(self, origin: str) -> bool:
        """Whether an Origin header names one of the app's own names, over HTTP."""
        scheme, _, host = origin.partition("://")
        if scheme not in ("http", "https") or not host:
            return False
        return self.allows(host)

    def foreign_host(self, headers: Headers) -> str | None:
        """The name in a request's headers that is not one of the app's; None if all are."""
        names = [headers.get("host", "")]
        if self.proxies:
            names += [name.strip() for name in headers.get("x-forwarded-host", "").split(",") if name.strip()]
        return next((name for name in names if not self.allows(name)), None)

    def without_forged(self, scope: Scope) -> Scope:
        """The scope without headers that only a proxy may set, where there is none."""
        dropped = FORWARDED_HEADERS if not self.proxies else ("x-gradio-server",)
        names = {name.encode() for name in dropped}
        return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() not in names]}

    def client(self, scope: Scope) -> str:
        """The client's address; of IPv6 its /64, which is what one subscriber has.

        Behind proxies it is the right-most address of X-Forwarded-For that no proxy has: what stands further to the left
        may have been written by the client itself.
        """
        address = scope["client"][0] if scope.get("client") else ""
        forwarded = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
        if self.proxies and forwarded:
            chain = [part.strip() for part in forwarded.split(",")]
            chain = chain[: max(1, len(chain) - self.proxies + 1)]
            while self.on_space and len(chain) > 1 and _is_private(chain[-1]):
                chain.pop()
            address = chain[-1]
        parsed = _address(address)
        if parsed is None:
            return address[:64]
        if isinstance(parsed, ipaddress.IPv6Address):
            if parsed.ipv4_mapped:
                return str(parsed.ipv4_mapped)
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address in digits, or None; brackets and a zone are removed."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _is_private(text: str) -> bool:
    address = _address(text)
    return address is not None and not address.is_global
