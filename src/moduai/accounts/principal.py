"""Who asks: what the gateway knows of a request's author, and nothing more."""

from __future__ import annotations

from msgspec import Struct


class Principal(Struct, frozen=True, kw_only=True):
    """The author of a request. All ids are opaque; no name or address is here."""

    subject: str
    """Opaque id of the person or programme, such as ``sub_…``; a guest's is ``gst_…``."""
    organisation: str = ""
    network: str = ""
    """What stands for a guest's network (``accounts.networks``); the ledger does not have it."""
    key: str = ""
    """Id of the API key (never the key); empty for the page."""
    service_class: str = "standard"
    """Class of service: the first level of the fair tree ("guest" for guests)."""
    scopes: frozenset[str] = frozenset({"inference"})
    expires_at: int = 0
    """Unix time in seconds after which the key is refused; 0: never."""
    region: str = ""
    zone: str = ""
    group: str = ""
    history: bool = False
    """Whether its turns are kept; only a resident's can be."""
    role: str = ""
    """A resident's role; empty for keys and guests."""
