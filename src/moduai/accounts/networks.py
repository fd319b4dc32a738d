"""Networks that guests come from: who has no account shares with others of the same network first.

Rule: an address is never kept. What is handed on is a digest of its network, with a key that never leaves
the machine: the same for all guests of one network, and of no use to find out which network that is.
"""

from __future__ import annotations

import hmac
import ipaddress
from hashlib import sha256

IPV4_BITS, IPV6_BITS = 24, 56
"""What one subscriber or small site has; more bits would let one house be many networks."""


def network_of(address: str) -> str:
    """The network of an address, /24 or /56; empty for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    inner = getattr(parsed, "ipv4_mapped", None) or parsed
    bits = IPV4_BITS if inner.version == 4 else IPV6_BITS
    return str(ipaddress.ip_network((inner, bits), strict=False))


def opaque(secret: bytes, network: str) -> str:
    """What stands for a network. Guests of whom none is known share one: fails closed."""
    key = hmac.digest(secret, b"moduai.accounts/network", sha256)
    return "net_" + hmac.digest(key, network.encode(), sha256)[:8].hex()
